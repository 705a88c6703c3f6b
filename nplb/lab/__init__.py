"""The lab: a cluster in a process, for trying and testing.

Law: nothing leaves loopback, or, with `netns`, the namespaces that the lab made. What a client
sees at a node is what a node of a real cluster would show it, and every place where it cannot be
is said where it is made. Faults are levels: what is broken, and everything else follows from it.

cluster         Lab: everything below, wired together
api             the API server
fabric          what machines are made of: loopback, in this process, or netns, in namespaces
node            a machine: interface, kube-proxy, kubelet, its Node object; its condition
interface       one address with what listens there; up, refusing or silent, as one; addresses
kubeproxy       NodePorts, health checks; rules (pure), serviceports, clusterips, datagrams
healthcheck     what kube-proxy says of itself and of local pods
kubelet         runs pods: pods, apps, httpd
workloads, endpointslices, lifecycle    the controllers
view            Services and slices, decoded once for all nodes
faults          what is broken now; catalogue, what can be; targets, control (HTTP), client
rehearsal       what an API server would answer to Services, without sending them; portcheck,
                portread, portfiles: for a cluster, and for files
flow, wire, silence     one forwarded connection, one socket, and how a socket is made deaf
podobjects, nodeobjects, writes, apply      objects, and how they are written
kubeconfig, manifests, introduction         what a newcomer gets
timing, limits  how quick it all is, and how many descriptors it may have
"""
