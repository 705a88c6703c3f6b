"""The tables of the kinds that the API server knows, after `staging/src/k8s.io/api`.

Fields stand in Go's order. Parts of a Pod that nothing here looks into are `any`: they are kept
as they come.
"""

from nplb.lab.api.schema import Schema

SCHEMA = Schema()
_struct = SCHEMA.struct

_OBJECT = """
    kind         string
    apiVersion   string
    metadata     ObjectMeta
"""

_struct("ObjectMeta", """
    name                         string
    generateName                 string
    namespace                    string
    selfLink                     string
    uid                          string
    resourceVersion              string
    generation                   int64
    creationTimestamp            *Time
    deletionTimestamp            *Time
    deletionGracePeriodSeconds   *int64
    labels                       map[string]string
    annotations                  map[string]string
    ownerReferences              []OwnerReference       map=uid merge=uid
    finalizers                   []string               set merge
    managedFields                []any
""")  # fmt: skip
_struct("OwnerReference", """
    apiVersion           string  !
    kind                 string  !
    name                 string  !
    uid                  string  !
    controller           *bool
    blockOwnerDeletion   *bool
""", atomic=True)  # fmt: skip
_struct("ObjectReference", """
    kind              string
    namespace         string
    name              string
    uid               string
    apiVersion        string
    resourceVersion   string
    fieldPath         string
""", atomic=True)  # fmt: skip

# -- core: Service ----------------------------------------------------------------------------
_struct("Service", _OBJECT + """
    spec     ServiceSpec
    status   ServiceStatus
""")  # fmt: skip
_struct("ServiceSpec", """
    ports                           []ServicePort          map=port,protocol merge=port
    selector                        map[string]string      atomic
    clusterIP                       string
    clusterIPs                      []string
    type                            string
    externalIPs                     []string
    sessionAffinity                 string
    loadBalancerIP                  string
    loadBalancerSourceRanges        []string
    externalName                    string
    externalTrafficPolicy           string
    healthCheckNodePort             int32
    publishNotReadyAddresses        bool
    sessionAffinityConfig           *SessionAffinityConfig
    ipFamilies                      []string
    ipFamilyPolicy                  *string
    allocateLoadBalancerNodePorts   *bool
    loadBalancerClass               *string
    internalTrafficPolicy           *string
    trafficDistribution             *string
""")  # fmt: skip
_struct("ServicePort", """
    name          string
    protocol      string    default=TCP
    appProtocol   *string
    port          int32     !
    targetPort    intstr
    nodePort      int32
""")  # fmt: skip
_struct("SessionAffinityConfig", "clientIP   *ClientIPConfig")
_struct("ClientIPConfig", "timeoutSeconds   *int32")
_struct("ServiceStatus", """
    loadBalancer   LoadBalancerStatus
    conditions     []Condition           map=type merge=type
""")  # fmt: skip
_struct("LoadBalancerStatus", "ingress   []LoadBalancerIngress")
_struct("LoadBalancerIngress", """
    ip         string
    hostname   string
    ipMode     *string
    ports      []PortStatus
""")  # fmt: skip
_struct("PortStatus", """
    port       int32     !
    protocol   string    !
    error      *string
""")  # fmt: skip
_struct("Condition", """
    type                 string  !
    status               string  !
    observedGeneration   int64
    lastTransitionTime   Time
    reason               string  !
    message              string  !
""")  # fmt: skip

# -- core: Node -------------------------------------------------------------------------------
_struct("Node", _OBJECT + """
    spec     NodeSpec
    status   NodeStatus
""")  # fmt: skip
_struct("NodeSpec", """
    podCIDR         string
    podCIDRs        []string   set merge
    providerID      string
    unschedulable   bool
    taints          []Taint
    configSource    *any
    externalID      string
""")  # fmt: skip
_struct("Taint", """
    key         string  !
    value       string
    effect      string  !
    timeAdded   *Time
""")  # fmt: skip
_struct("NodeStatus", """
    capacity           map[string]any
    allocatable        map[string]any
    phase              string
    conditions         []NodeCondition       map=type merge=type
    addresses          []NodeAddress         map=type merge=type
    daemonEndpoints    NodeDaemonEndpoints
    nodeInfo           NodeSystemInfo
    images             []any
    volumesInUse       []string
    volumesAttached    []any
    config             *any
    runtimeHandlers    []any
    features           *any
    declaredFeatures   []string
""")  # fmt: skip
_struct("NodeCondition", """
    type                 string  !
    status               string  !
    lastHeartbeatTime    Time
    lastTransitionTime   Time
    reason               string
    message              string
""")  # fmt: skip
_struct("NodeAddress", """
    type      string  !
    address   string  !
""")  # fmt: skip
_struct("NodeDaemonEndpoints", "kubeletEndpoint   DaemonEndpoint")
_struct("DaemonEndpoint", "Port   int32   !")
_struct("NodeSystemInfo", """
    machineID                 string  !
    systemUUID                string  !
    bootID                    string  !
    kernelVersion             string  !
    osImage                   string  !
    containerRuntimeVersion   string  !
    kubeletVersion            string  !
    kubeProxyVersion          string  !
    operatingSystem           string  !
    architecture              string  !
    swap                      *any
""")  # fmt: skip

# -- core: Pod --------------------------------------------------------------------------------
_struct("Pod", _OBJECT + """
    spec     PodSpec
    status   PodStatus
""")  # fmt: skip
_struct("PodSpec", """
    volumes                         []Volume               map=name merge=name
    initContainers                  []Container            map=name merge=name
    containers                      []Container            map=name merge=name !
    ephemeralContainers             []any
    restartPolicy                   string
    terminationGracePeriodSeconds   *int64
    activeDeadlineSeconds           *int64
    dnsPolicy                       string
    nodeSelector                    map[string]string      atomic
    serviceAccountName              string
    serviceAccount                  string
    automountServiceAccountToken    *bool
    nodeName                        string
    hostNetwork                     bool
    hostPID                         bool
    hostIPC                         bool
    shareProcessNamespace           *bool
    securityContext                 *any
    imagePullSecrets                []any
    hostname                        string
    subdomain                       string
    affinity                        *any
    schedulerName                   string
    tolerations                     []any
    hostAliases                     []any
    priorityClassName               string
    priority                        *int32
    dnsConfig                       *any
    readinessGates                  []any
    runtimeClassName                *string
    enableServiceLinks              *bool
    preemptionPolicy                *string
    overhead                        map[string]any
    topologySpreadConstraints       []any
    setHostnameAsFQDN               *bool
    os                              *any
    hostUsers                       *bool
    schedulingGates                 []any
    resourceClaims                  []any
    resources                       *any
    hostnameOverride                *string
""")  # fmt: skip
_struct("Volume", """
    name                    string  !
    hostPath                *any
    emptyDir                *any
    secret                  *any
    configMap               *any
    downwardAPI             *any
    projected               *any
    persistentVolumeClaim   *any
    nfs                     *any
    csi                     *any
    ephemeral               *any
    image                   *any
""")  # fmt: skip
_struct("Container", """
    name                       string                 !
    image                      string
    command                    []string
    args                       []string
    workingDir                 string
    ports                      []ContainerPort        map=containerPort,protocol merge=containerPort
    envFrom                    []any
    env                        []EnvVar               map=name merge=name
    resources                  ResourceRequirements
    resizePolicy               []any
    restartPolicy              *string
    restartPolicyRules         []any
    volumeMounts               []VolumeMount          map=mountPath merge=mountPath
    volumeDevices              []any
    livenessProbe              *Probe
    readinessProbe             *Probe
    startupProbe               *Probe
    lifecycle                  *any
    terminationMessagePath     string
    terminationMessagePolicy   string
    imagePullPolicy            string
    securityContext            *any
    stdin                      bool
    stdinOnce                  bool
    tty                        bool
""")  # fmt: skip
_struct("ContainerPort", """
    name            string
    hostPort        int32
    containerPort   int32    !
    protocol        string   default=TCP
    hostIP          string
""")  # fmt: skip
_struct("EnvVar", """
    name        string  !
    value       string
    valueFrom   *any
""")  # fmt: skip
_struct("ResourceRequirements", """
    limits     map[string]any
    requests   map[string]any
    claims     []any
""")  # fmt: skip
_struct("VolumeMount", """
    name                string  !
    readOnly            bool
    recursiveReadOnly   *string
    mountPath           string  !
    subPath             string
    mountPropagation    *string
    subPathExpr         string
""")  # fmt: skip
_struct("Probe", """
    exec                            *any
    httpGet                         *any
    tcpSocket                       *any
    grpc                            *any
    initialDelaySeconds             int32
    timeoutSeconds                  int32
    periodSeconds                   int32
    successThreshold                int32
    failureThreshold                int32
    terminationGracePeriodSeconds   *int64
""")  # fmt: skip
_struct("PodStatus", """
    observedGeneration           int64
    phase                        string
    conditions                   []PodCondition      map=type merge=type
    message                      string
    reason                       string
    nominatedNodeName            string
    hostIP                       string
    hostIPs                      []HostIP            merge=ip
    podIP                        string
    podIPs                       []PodIP             map=ip merge=ip
    startTime                    *Time
    initContainerStatuses        []ContainerStatus
    containerStatuses            []ContainerStatus
    qosClass                     string
    ephemeralContainerStatuses   []any
    resize                       string
    resourceClaimStatuses        []any
""")  # fmt: skip
_struct("PodCondition", """
    type                 string  !
    observedGeneration   int64
    status               string  !
    lastProbeTime        Time
    lastTransitionTime   Time
    reason               string
    message              string
""")  # fmt: skip
_struct("HostIP", "ip   string   !")
_struct("PodIP", "ip   string   !")
_struct("ContainerStatus", """
    name                       string           !
    state                      ContainerState
    lastState                  ContainerState
    ready                      bool             !
    restartCount               int32            !
    image                      string           !
    imageID                    string           !
    containerID                string
    started                    *bool
    allocatedResources         map[string]any
    resources                  *any
    volumeMounts               []any
    user                       *any
    allocatedResourcesStatus   []any
    stopSignal                 *string
""")  # fmt: skip
_struct("ContainerState", """
    waiting      *any
    running      *any
    terminated   *any
""")  # fmt: skip

# -- core: the rest ---------------------------------------------------------------------------
_struct("Namespace", _OBJECT + """
    spec     NamespaceSpec
    status   NamespaceStatus
""")  # fmt: skip
_struct("NamespaceSpec", "finalizers   []string")
_struct("NamespaceStatus", """
    phase        string
    conditions   []Condition   map=type merge=type
""")  # fmt: skip
_struct("ConfigMap", _OBJECT + """
    immutable    *bool
    data         map[string]string
    binaryData   map[string]string
""")  # fmt: skip
_struct("Endpoints", _OBJECT + """
    subsets   []EndpointSubset
""")  # fmt: skip
_struct("EndpointSubset", """
    addresses           []EndpointAddress
    notReadyAddresses   []EndpointAddress
    ports               []EndpointsPort
""")  # fmt: skip
_struct("EndpointAddress", """
    ip          string             !
    hostname    string
    nodeName    *string
    targetRef   *ObjectReference
""")  # fmt: skip
_struct("EndpointsPort", """
    name          string
    port          int32     !
    protocol      string
    appProtocol   *string
""")  # fmt: skip
_struct("Event", _OBJECT + """
    involvedObject       ObjectReference
    reason               string
    message              string
    source               EventSource
    firstTimestamp       Time
    lastTimestamp        Time
    count                int32
    type                 string
    eventTime            Time
    series               *EventSeries
    action               string
    related              *ObjectReference
    reportingComponent   string            !
    reportingInstance    string            !
""")  # fmt: skip
_struct("EventSource", """
    component   string
    host        string
""")  # fmt: skip
_struct("EventSeries", """
    count              int32
    lastObservedTime   Time
""")  # fmt: skip

# -- events.k8s.io/v1, coordination.k8s.io/v1, discovery.k8s.io/v1 ----------------------------
_struct("EventsV1Event", _OBJECT + """
    eventTime                  Time
    series                     *EventSeries
    reportingController        string
    reportingInstance          string
    action                     string
    reason                     string
    regarding                  ObjectReference
    related                    *ObjectReference
    note                       string
    type                       string
    deprecatedSource           EventSource
    deprecatedFirstTimestamp   Time
    deprecatedLastTimestamp    Time
    deprecatedCount            int32
""")  # fmt: skip
_struct("Lease", _OBJECT + """
    spec   LeaseSpec
""")  # fmt: skip
_struct("LeaseSpec", """
    holderIdentity         *string
    leaseDurationSeconds   *int32
    acquireTime            *Time
    renewTime              *Time
    leaseTransitions       *int32
    strategy               *string
    preferredHolder        *string
""")  # fmt: skip
_struct("EndpointSlice", _OBJECT + """
    addressType   string           !
    endpoints     []Endpoint       !
    ports         []EndpointPort   !
""")  # fmt: skip
_struct("Endpoint", """
    addresses            []string             !
    conditions           EndpointConditions
    hostname             *string
    targetRef            *ObjectReference
    deprecatedTopology   map[string]string
    nodeName             *string
    zone                 *string
    hints                *any
""")  # fmt: skip
_struct("EndpointConditions", """
    ready         *bool
    serving       *bool
    terminating   *bool
""")  # fmt: skip
_struct("EndpointPort", """
    name          *string
    protocol      *string
    port          *int32
    appProtocol   *string
""")  # fmt: skip

SCHEMA.check()
