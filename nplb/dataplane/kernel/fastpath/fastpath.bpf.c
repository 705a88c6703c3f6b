// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The kernel plane's fast path: translates TCP connections at the ingress of an interface, before
 * netfilter and routing see them. README.md beside this file says what a packet meets here.
 *
 * Addresses are 16 bytes, IPv4 in its mapped form (::ffff:a.b.c.d), as a socket of both families
 * shows them. Addresses and ports are in network order wherever they are kept.
 *
 * What the maps hold is mirrored by layout.py; whoever changes a struct raises SHAPE there.
 */
#include <linux/bpf.h>
#include <linux/errno.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2
#define AF_INET6 10
#define PACKET_HOST 0 /* <linux/if_packet.h> */
#define HEADERS_MAX 127 /* an IP header with options ends before it */
#define FRAGMENT 0x3fff /* IP_MF and the offset */
#define IP_MAX 65535
#define PORT_TRIES 24
#define PORT_STRIDE 509 /* past a block that is in use */
#define IN_FLIGHT (1 << 26) /* bytes that may be on the way to one side */
#define NEAR (1 << 20) /* bytes that a node may have sent before it is acknowledged */
#define TCP_OPTIONS 10
#define STAMPED 0x0101080a /* the usual start of options: two of padding, then timestamps */
#define SIZED 0x02040000 /* and that of a SYN: the maximum segment size, */
#define SIZED_STAMPED 0x0402080a /* that selective acknowledgements are welcome, then timestamps */
#define NS_OF_MS 1000000
#define ROUTE_MS 1000 /* a route that has changed counts within a second */
#define PASS TC_ACT_UNSPEC /* to the next filter, and to the table in the end */

struct address {
	__be32 word[4];
};

struct endpoint {
	struct address ip;
	__be16 port;
	__u16 zero;
};

/* One way of a connection, as its packets say; of IPv4 also in few bytes. */
struct tuple {
	struct address source, destination;
	__be16 source_port, destination_port;
};

struct tuple4 {
	__be32 source, destination;
	__be16 source_port, destination_port;
};

/* ANSWERED: the node has answered the client's SYN, OPEN: and the client the node's (on the client's way
 * only). FIN: this side has closed. */
enum { ANSWERED = 1, OPEN = 2, FIN = 4, RESET = 8, FROM_NODE = 16 };

/* The start of an Ethernet header. */
struct link {
	__u8 to[ETH_ALEN], from[ETH_ALEN];
};

/* How far one way of a connection is, and by which way its packets leave. Times are milliseconds of
 * CLOCK_MONOTONIC_COARSE, their lower half. */
struct flow {
	__u32 bytes[2]; /* one number: as a __u64 it would pad a flow4 from 64 bytes to 72 */
	__u16 flags;
	__u16 tick;	    /* the kernel's, of the last packet: until the next one no clock is read */
	__u32 seen;	    /* when the first packet came in that tick */
	__u32 sent;	    /* the end of what has come this way, */
	__u32 acknowledged; /* of the other side's bytes that this one has, */
	__u32 fin_end;	    /* and what acknowledges this side's FIN, or a SYN that it sends anew */
	__u32 stamp;	    /* what is added to the client's timestamps, and taken off their echoes */
	__u32 routed;	    /* when the next hop was looked up; 0: it is for the next packet */
	__u32 interface;    /* by which it leaves, */
	struct link link;   /* and the rest of the way to the next hop */
};

/* What becomes of packets of one tuple. Both ways of a connection have an entry; each is the other's
 * `to` turned round. */
struct flow4 {
	struct flow flow;
	struct tuple4 to;
};
struct flow6 {
	struct flow flow;
	struct tuple to;
};

enum { IN_TURN = 0, AT_RANDOM = 1, BY_CLIENT = 2 };

struct frontend {
	__u64 layout;	  /* whose seats */
	__u32 seats;	  /* how many */
	__u32 next;	  /* how many it has been asked for: whose turn it is */
	__be16 node_port;
	__u16 draw;
	__u32 zero;
};

struct seat_key {
	__u64 layout;
	__u32 place;
	__u32 zero;
};

struct seat {
	struct address node;
	struct address source; /* the edge's own address toward the node */
};

/* Of connections that have ended: what others have moved is with their flows. */
struct counts {
	__u64 opened, sent, answered;
};

struct settings {
	__u32 first_port, ports; /* the source ports that connections to nodes are given */
	__u32 hash_seed;
};

enum { NO_ROOM, NO_PORT, NO_SEAT, NO_ROUTE, EXPIRED, EVENTS };

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__type(key, struct tuple4);
	__type(value, struct flow4);
} flows4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct tuple);
	__type(value, struct flow6);
} flows6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct endpoint);
	__type(value, struct frontend);
} frontends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4194304);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct seat_key);
	__type(value, struct seat);
} seats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1048576);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct endpoint);
	__type(value, struct counts);
} counters SEC(".maps");

/* Interfaces, by their index, that have this program. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u32);
} interfaces SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

/* Where an entry is made before it is in its table: the stack is too small. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow6);
} draft SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EVENTS);
	__type(key, __u32);
	__type(value, __u64);
} events SEC(".maps");

/* A packet, as far as it has been read. Offsets are from the start of its Ethernet header. */
struct packet {
	struct tuple tuple;
	__u32 l4; /* where TCP or ICMP begins */
	__u32 sequence, acknowledged;
	__u32 payload;
	__u16 header_bytes; /* of TCP */
	__u8 protocol;
	__u8 tos, ttl;
	__u32 stamp_at, mss_at; /* where these options' values begin; 0: not found */
	bool usual;		/* these options are where Linux puts them */
	bool syn, ack, fin, rst;
};

static __always_inline void note(__u32 event)
{
	__u64 *count = bpf_map_lookup_elem(&events, &event);
	if (count)
		++*count;
}

static __always_inline void map_ipv4(struct address *to, __be32 ip)
{
	to->word[0] = to->word[1] = 0;
	to->word[2] = bpf_htonl(0xffff);
	to->word[3] = ip;
}

static __always_inline void copy6(struct address *to, const struct in6_addr *from)
{
	__builtin_memcpy(to, from, sizeof *to);
}

static __always_inline void turn_round(const struct tuple *from, struct tuple *to)
{
	to->source = from->destination;
	to->destination = from->source;
	to->source_port = from->destination_port;
	to->destination_port = from->source_port;
}

/* A pointer that the context shows as 32 bits, and the kernel makes one of 64: read by hand, since a
 * compiler may cut off the upper half of what it takes for a number. */
#define POINTER(skb, field)                                                                         \
	({                                                                                          \
		void *pointer;                                                                      \
		asm volatile("%0 = *(u32 *)(%1 + %2)"                                               \
			     : "=r"(pointer)                                                        \
			     : "r"(skb), "i"(offsetof(struct __sk_buff, field)));                   \
		pointer;                                                                            \
	})

static __always_inline struct tuple4 in_few_bytes(const struct tuple *of)
{
	return (struct tuple4){.source = of->source.word[3],
			       .destination = of->destination.word[3],
			       .source_port = of->source_port,
			       .destination_port = of->destination_port};
}

/* An entry of either family's flow table. What is `six` here and below is known to the compiler: each
 * family has code of its own. */
static __always_inline struct flow *find(const struct tuple *key, bool six)
{
	if (six)
		return bpf_map_lookup_elem(&flows6, key);
	struct tuple4 few = in_few_bytes(key);
	return bpf_map_lookup_elem(&flows4, &few);
}

static __always_inline long take_away(const struct tuple *key, bool six)
{
	if (six)
		return bpf_map_delete_elem(&flows6, key);
	struct tuple4 few = in_few_bytes(key);
	return bpf_map_delete_elem(&flows4, &few);
}

/* What packets become, into the draft of an entry: a `flow4` or a `flow6`. */
static __always_inline void write_to(struct flow *draft, const struct tuple *to, bool six)
{
	if (six)
		((struct flow6 *)draft)->to = *to;
	else
		((struct flow4 *)draft)->to = in_few_bytes(to);
}

static __always_inline long put(const struct tuple *key, struct flow *draft, bool six, __u64 flags)
{
	if (six)
		return bpf_map_update_elem(&flows6, key, draft, flags);
	struct tuple4 few = in_few_bytes(key);
	return bpf_map_update_elem(&flows4, &few, draft, flags);
}

/* What an entry of the table says that its packets become. */
static __always_inline void read_to(const struct flow *flow, struct tuple *to, bool six)
{
	if (six) {
		*to = ((const struct flow6 *)flow)->to;
		return;
	}
	struct tuple4 few = ((const struct flow4 *)flow)->to;
	map_ipv4(&to->source, few.source);
	map_ipv4(&to->destination, few.destination);
	to->source_port = few.source_port;
	to->destination_port = few.destination_port;
}

/* So many bytes of the packet, readable; NULL if it has not so many. */
static __always_inline void *bytes(struct __sk_buff *skb, __u32 at, __u32 count)
{
	at &= HEADERS_MAX;
	void *data = POINTER(skb, data), *end = POINTER(skb, data_end);
	return data + at + count <= end ? data + at : NULL;
}

/* The same, where a driver or a sender may have left a part of it in pages. */
static __always_inline void *reach(struct __sk_buff *skb, __u32 at, __u32 count)
{
	if (!bytes(skb, at, count)) {
		if (bpf_skb_pull_data(skb, (at & HEADERS_MAX) + count))
			return NULL;
	}
	/* The verifier forgets all pointers with the call: they are read again on either way. */
	asm volatile("" : : : "memory");
	return bytes(skb, at, count);
}

/* Reads the IP header. False: nothing for us. */
static __always_inline bool read_ip(struct __sk_buff *skb, struct packet *p, bool six)
{
	if (six) {
		struct ipv6hdr *ip = reach(skb, ETH_HLEN, sizeof *ip);
		if (!ip)
			return false;
		p->protocol = ip->nexthdr;
		p->tos = ip->priority << 4 | ip->flow_lbl[0] >> 4;
		p->ttl = ip->hop_limit;
		p->l4 = ETH_HLEN + sizeof *ip;
		p->payload = bpf_ntohs(ip->payload_len);
		copy6(&p->tuple.source, &ip->saddr);
		copy6(&p->tuple.destination, &ip->daddr);
		return p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_ICMPV6;
	}
	struct iphdr *ip = reach(skb, ETH_HLEN, sizeof *ip);
	if (!ip || ip->ihl < 5 || (ip->frag_off & bpf_htons(FRAGMENT)))
		return false;
	p->protocol = ip->protocol;
	p->tos = ip->tos;
	p->ttl = ip->ttl;
	p->l4 = ETH_HLEN + ip->ihl * 4;
	p->payload = (bpf_ntohs(ip->tot_len) ?: skb->len - ETH_HLEN) - ip->ihl * 4; /* 0: BIG TCP */
	map_ipv4(&p->tuple.source, ip->saddr);
	map_ipv4(&p->tuple.destination, ip->daddr);
	return p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_ICMP;
}

static __always_inline void read_options(struct __sk_buff *skb, struct packet *p)
{
	__u32 at = p->l4 + sizeof(struct tcphdr), end = p->l4 + p->header_bytes;
	for (int i = 0; i < TCP_OPTIONS; i++) {
		__u8 option[2];
		if (at + 2 > end || bpf_skb_load_bytes(skb, at, option, sizeof option) || !option[0])
			return;
		if (option[0] == 1) {
			at++;
			continue;
		}
		if (option[1] < 2 || at + option[1] > end)
			return;
		if (option[0] == 2 && option[1] == 4)
			p->mss_at = at + 2;
		if (option[0] == 8 && option[1] == 10) {
			p->stamp_at = at + 2;
			return;
		}
		at += option[1];
	}
}

/* Finds the options of a packet that opens a connection, or of an unusual sender's. */
static __always_inline void find_options(struct __sk_buff *skb, struct packet *p)
{
	read_options(skb, p);
	/* Through a map, so that the verifier sees two numbers of which it knows nothing: else it walks
	 * through all that follows once for each place where they may have been. */
	__u32 zero = 0;
	struct flow6 *scratch = bpf_map_lookup_elem(&draft, &zero);
	if (!scratch)
		return;
	volatile __u32 *seen = scratch->flow.bytes;
	seen[0] = p->mss_at, seen[1] = p->stamp_at;
	p->mss_at = seen[0], p->stamp_at = seen[1];
}

static __always_inline bool read_tcp(struct __sk_buff *skb, struct packet *p)
{
	struct tcphdr *tcp = reach(skb, p->l4, sizeof *tcp);
	if (!tcp)
		return false;
	p->tuple.source_port = tcp->source;
	p->tuple.destination_port = tcp->dest;
	p->sequence = bpf_ntohl(tcp->seq);
	p->acknowledged = bpf_ntohl(tcp->ack_seq);
	p->header_bytes = tcp->doff * 4;
	p->payload -= p->header_bytes;
	p->syn = tcp->syn;
	p->ack = tcp->ack;
	p->fin = tcp->fin;
	p->rst = tcp->rst;
	__u32 at = p->l4 + sizeof *tcp;
	if (p->syn) {
		__be32 *options = bytes(skb, at, 16);
		p->usual = options && p->header_bytes >= sizeof *tcp + 16 &&
			   (options[0] & bpf_htonl(0xffff0000)) == bpf_htonl(SIZED) &&
			   options[1] == bpf_htonl(SIZED_STAMPED);
		if (p->usual)
			p->mss_at = at + 2, p->stamp_at = at + 8;
		else
			find_options(skb, p);
	} else {
		__be32 *options = bytes(skb, at, 12);
		p->usual = options && p->header_bytes >= sizeof *tcp + 12 &&
			   options[0] == bpf_htonl(STAMPED);
		if (p->usual)
			p->stamp_at = at + 4;
	}
	return true;
}

/* The next hop to `to->destination`. Returns what bpf_fib_lookup does; where there is no neighbour
 * yet, redirecting finds it. */
static __always_inline long route(struct __sk_buff *skb, const struct packet *p,
				  const struct tuple *to, bool six, bool whole,
				  struct bpf_fib_lookup *hop)
{
	hop->ifindex = skb->ifindex;
	hop->l4_protocol = p->protocol;
	hop->sport = to->source_port;
	hop->dport = to->destination_port;
	/* A length makes it say the route's MTU; none, compare the packet with the interface's. */
	hop->tot_len = whole ? 0 : 1;
	if (six) {
		hop->family = AF_INET6;
		__builtin_memcpy(hop->ipv6_src, &to->source, 16);
		__builtin_memcpy(hop->ipv6_dst, &to->destination, 16);
	} else {
		hop->family = AF_INET;
		hop->tos = p->tos & 0x1c;
		hop->ipv4_src = to->source.word[3];
		hop->ipv4_dst = to->destination.word[3];
	}
	long found = bpf_fib_lookup(skb, hop, sizeof *hop, 0);
	return found == BPF_FIB_LKUP_RET_NO_NEIGH ? 0 : found;
}

/* Sends the packet on, as the kernel sends: it finds the neighbour, and keeps asking whether it is
 * still there. */
static __always_inline int send(__u32 interface, struct bpf_redir_neigh *next)
{
	return bpf_redirect_neigh(interface, next, sizeof *next, 0);
}

static __always_inline void next_hop(const struct bpf_fib_lookup *found, struct bpf_redir_neigh *next)
{
	next->nh_family = found->family;
	if (found->family == AF_INET6)
		__builtin_memcpy(next->ipv6_nh, found->ipv6_dst, 16);
	else
		next->ipv4_nh = found->ipv4_dst;
}

/* What a one's complement sum changes by (RFC 1624), as bpf_csum_diff gives it. */
static __always_inline __u32 difference(__u32 from, __u32 to, __u32 before)
{
	__u64 sum = (__u64)before + (__u32)~from + to;
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* Writes the addresses and the hop count of the IP header, and for IPv4 its checksum. */
static __always_inline bool write_ip(struct __sk_buff *skb, const struct tuple *to, bool six)
{
	if (six) {
		struct ipv6hdr *ip = bytes(skb, ETH_HLEN, sizeof *ip);
		if (!ip)
			return false;
		__builtin_memcpy(&ip->saddr, &to->source, 16);
		__builtin_memcpy(&ip->daddr, &to->destination, 16);
		ip->hop_limit--;
		return true;
	}
	struct iphdr *ip = bytes(skb, ETH_HLEN, sizeof *ip);
	if (!ip)
		return false;
	__u32 sum = difference(ip->saddr, to->source.word[3],
			       difference(ip->daddr, to->destination.word[3], (__u16)~ip->check));
	ip->check = ~fold(difference(bpf_htons(0x0100), 0, sum)); /* the hop count */
	ip->saddr = to->source.word[3];
	ip->daddr = to->destination.word[3];
	ip->ttl--;
	return true;
}

/* Corrects TCP's checksum by what the sums of its addresses and of itself change by. Whether it is
 * one yet, only the kernel knows: until a device adds the rest (CHECKSUM_PARTIAL), it is the sum of
 * the addresses, without complement. Which of both the kernel's helper has found tells what it made
 * of the addresses' change: asking it a second time costs more than that. */
static __always_inline bool correct(struct __sk_buff *skb, const struct packet *p, __u32 addresses,
				    __u32 rest)
{
	__u32 at = p->l4 + offsetof(struct tcphdr, check);
	__sum16 *check = bytes(skb, at, sizeof *check);
	if (!check)
		return false;
	__u16 change = fold(addresses), partial = fold(*check + change);
	if (bpf_l4_csum_replace(skb, at, 0, addresses, BPF_F_PSEUDO_HDR))
		return false;
	if (!change || change == 0xffff) /* none: it tells nothing */
		return !bpf_l4_csum_replace(skb, at, 0, rest, 0);
	check = bytes(skb, at, sizeof *check);
	if (!check)
		return false;
	if (*check != partial)
		*check = ~fold((__u16)~*check + fold(rest));
	return true;
}

/* Writes addresses and ports. Order: the checksum's helper may move the data. */
static __always_inline bool write_tcp(struct __sk_buff *skb, const struct packet *p,
				      const struct tuple *to, bool six, __u32 stamp,
				      bool from_node)
{
	const struct tuple *was = &p->tuple;
	__u32 addresses = six
		? bpf_csum_diff((__be32 *)&was->source, 32, (__be32 *)&to->source, 32, 0)
		: difference(was->source.word[3], to->source.word[3],
			     difference(was->destination.word[3], to->destination.word[3], 0));
	__u32 rest = difference(was->source_port, to->source_port,
				difference(was->destination_port, to->destination_port, 0));
	__be32 was_stamp = 0, now_stamp = 0;
	__u32 stamp_at = from_node ? p->stamp_at + 4 : p->stamp_at;
	bool stamped = stamp && p->usual;
	if (stamped) {
		__be32 *value = bytes(skb, stamp_at, sizeof *value);
		if (!value)
			return false;
		was_stamp = *value;
		now_stamp = bpf_htonl(bpf_ntohl(was_stamp) + (from_node ? -stamp : stamp));
		rest = difference(was_stamp, now_stamp, rest);
	}
	if (!correct(skb, p, addresses, rest))
		return false;
	if (stamped) {
		__be32 *value = bytes(skb, stamp_at, sizeof *value);
		if (!value)
			return false;
		*value = now_stamp;
	}
	if (!write_ip(skb, to, six))
		return false;
	struct tcphdr *tcp = bytes(skb, p->l4, sizeof *tcp);
	if (!tcp)
		return false;
	tcp->source = to->source_port;
	tcp->dest = to->destination_port;
	return true;
}

/* The sum is of 16-bit words from TCP's header on: what begins at an odd place counts with its bytes
 * exchanged. */
static __always_inline __u32 in_sum(__u32 word, bool odd)
{
	return odd ? (word & 0xff00ff00) >> 8 | (word & 0x00ff00ff) << 8 : word;
}

/* Adds to one timestamp, wherever it stands. */
static __always_inline void restamp(struct __sk_buff *skb, const struct packet *p, __u32 at, __u32 add)
{
	__be32 had, now;
	if (bpf_skb_load_bytes(skb, at, &had, sizeof had))
		return;
	now = bpf_htonl(bpf_ntohl(had) + add);
	bool odd = (at - p->l4) & 1;
	bpf_l4_csum_replace(skb, p->l4 + offsetof(struct tcphdr, check), in_sum(had, odd),
			    in_sum(now, odd), sizeof now);
	bpf_skb_store_bytes(skb, at, &now, sizeof now, 0);
}

/* Lowers the maximum segment size. */
static __always_inline void clamp(struct __sk_buff *skb, const struct packet *p, __u32 at, __u16 most)
{
	__be16 had, now = bpf_htons(most);
	if (bpf_skb_load_bytes(skb, at, &had, sizeof had) || bpf_ntohs(had) <= most)
		return;
	bool odd = (at - p->l4) & 1;
	bpf_l4_csum_replace(skb, p->l4 + offsetof(struct tcphdr, check), in_sum(had, odd),
			    in_sum(now, odd), sizeof now);
	bpf_skb_store_bytes(skb, at, &now, sizeof now, 0);
}

static __always_inline __u32 mtu_of(struct __sk_buff *skb, __u32 interface)
{
	__u32 mtu = 0;
	return bpf_check_mtu(skb, interface, &mtu, 0, 0) < 0 || !mtu ? IP_MAX : mtu;
}

/* Neither end may send segments that do not fit the edge's two interfaces: there is nobody here who
 * would tell it so later. */
static __always_inline void clamp_mss(struct __sk_buff *skb, const struct packet *p,
				      const struct bpf_fib_lookup *hop, bool six)
{
	__u32 mtu = mtu_of(skb, skb->ifindex), there = hop->mtu_result;
	if (there <= 1) /* what the question was: there is no neighbour yet */
		there = mtu_of(skb, hop->ifindex);
	if (there < mtu)
		mtu = there;
	__u32 headers = sizeof(struct tcphdr) +
			(six ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	if (p->mss_at && mtu > headers)
		clamp(skb, p, p->mss_at, mtu - headers);
}

#define ROTATE(word, by) ((word) << (by) | (word) >> (32 - (by)))
#define MIX_LAST(a, b, c)                                                                           \
	(c ^= b, c -= ROTATE(b, 14), a ^= c, a -= ROTATE(c, 11), b ^= a, b -= ROTATE(a, 25),        \
	 c ^= b, c -= ROTATE(b, 16), a ^= c, a -= ROTATE(c, 4), b ^= a, b -= ROTATE(a, 14),         \
	 c ^= b, c -= ROTATE(b, 24))
#define MIX(a, b, c)                                                                                \
	(a -= c, a ^= ROTATE(c, 4), c += b, b -= a, b ^= ROTATE(a, 6), a += c, c -= b,              \
	 c ^= ROTATE(b, 8), b += a, a -= c, a ^= ROTATE(c, 16), c += b, b -= a,                     \
	 b ^= ROTATE(a, 19), a += c, c -= b, c ^= ROTATE(b, 4), b += a)

/* Bob Jenkins' lookup3 of a client's address, scaled to a place: what nftables' `jhash ip saddr mod
 * N seed S` gives, so that a client finds the same node by either way. */
static __always_inline __u32 place_of_client(const struct packet *p, bool six, __u32 seed,
					     __u32 places)
{
	const __u32 *word = p->tuple.source.word;
	__u32 a, b, c;
	if (six) {
		a = b = c = 0xdeadbeef + 16 + seed;
		a += word[0], b += word[1], c += word[2];
		MIX(a, b, c);
		a += word[3];
	} else {
		a = b = c = 0xdeadbeef + 4 + seed;
		a += word[3];
	}
	MIX_LAST(a, b, c);
	return ((__u64)c * places) >> 32;
}

/* The place of a new connection's node. `turn` becomes the number of the source port to begin with:
 * as long as it can be until a node sees the same one again, since it may remember a connection that
 * it has closed (TIME_WAIT) and then takes a new one badly. */
static __always_inline __u32 draw(struct frontend *front, const struct packet *p, bool six,
				  __u32 seed, __u32 *turn)
{
	__u32 seats = front->seats;
	*turn = __sync_fetch_and_add(&front->next, 1);
	if (front->draw == BY_CLIENT)
		return place_of_client(p, six, seed, seats);
	if (front->draw == AT_RANDOM)
		return bpf_get_prandom_u32() % seats;
	__u32 place = *turn % seats;
	*turn /= seats; /* all nodes have had their turn */
	return place;
}

/* The frontend that a new connection asks for: on its address, or on all of the edge's own. */
static __always_inline struct frontend *find_frontend(struct __sk_buff *skb, const struct packet *p,
						      bool six)
{
	struct endpoint asked = {.ip = p->tuple.destination, .port = p->tuple.destination_port};
	struct frontend *front = bpf_map_lookup_elem(&frontends, &asked);
	if (front)
		return front;
	asked.ip.word[3] = 0;
	if (six)
		asked.ip.word[0] = asked.ip.word[1] = asked.ip.word[2] = 0;
	front = bpf_map_lookup_elem(&frontends, &asked);
	if (!front)
		return NULL;
	struct bpf_fib_lookup hop = {};
	return route(skb, p, &p->tuple, six, true, &hop) == BPF_FIB_LKUP_RET_NOT_FWDED ? front : NULL;
}

/* Adds to what has been counted of a node's port. */
static __always_inline void count(const struct endpoint *node, const struct counts *more)
{
	struct counts *counts = bpf_map_lookup_elem(&counters, node);
	if (!counts) {
		if (!bpf_map_update_elem(&counters, node, more, BPF_NOEXIST))
			return;
		counts = bpf_map_lookup_elem(&counters, node);
	}
	if (!counts)
		return;
	counts->opened += more->opened;
	counts->sent += more->sent;
	counts->answered += more->answered;
}

static __always_inline __u64 *bytes_of(struct flow *flow)
{
	return (__u64 *)flow->bytes;
}

/* Takes one way of a connection out of the table: who does is the one to count it. */
static __always_inline void take_out(const struct tuple *key, struct flow *flow, bool six,
				     struct counts *sum)
{
	__u64 moved = *bytes_of(flow); /* a packet that another processor has in hand is lost to it */
	bool from_node = flow->flags & FROM_NODE;
	if (take_away(key, six))
		return;
	if (from_node) {
		sum->answered = moved;
	} else {
		sum->opened = 1;
		sum->sent = moved;
	}
}

/* Forgets a connection: the way of `key`, whose entry is `flow`, and the other one. */
static __always_inline void forget(const struct tuple *key, struct flow *flow,
				   const struct tuple *other, struct flow *peer, bool six)
{
	struct counts sum = {};
	struct endpoint node = {.ip = other->source, .port = other->source_port};
	if (flow->flags & FROM_NODE)
		node.ip = key->source, node.port = key->source_port;
	take_out(key, flow, six, &sum);
	if (peer)
		take_out(other, peer, six, &sum);
	count(&node, &sum);
}

/* Gives a new connection its node, and the node's answers their entry. `flow` becomes the client's way,
 * which has no entry yet, and `to` what its packets become. False: the table is to serve it. */
static __always_inline bool open_flow(struct __sk_buff *skb, const struct packet *p, bool six,
				      struct flow *flow, struct tuple *to)
{
	__u32 zero = 0;
	struct settings *set = bpf_map_lookup_elem(&settings, &zero);
	struct frontend *front = find_frontend(skb, p, six);
	if (!set || !set->ports || !front || !front->seats)
		return false;
	__u32 turn;
	struct seat_key place = {.layout = front->layout,
				 .place = draw(front, p, six, set->hash_seed, &turn)};
	struct seat *seat = bpf_map_lookup_elem(&seats, &place);
	if (!seat) {
		note(NO_SEAT);
		return false;
	}
	to->source = seat->source;
	to->destination = seat->node;
	to->destination_port = front->node_port;
	__u32 now = bpf_ktime_get_coarse_ns() / NS_OF_MS;
	*flow = (struct flow){.flags = FROM_NODE, .seen = now};
	/* The client's timestamps go on from the edge's clock. A node that remembers a connection which
	 * it has closed takes a new one from the same port only with a later timestamp (RFC 6191), and
	 * those of different clients have nothing to do with each other. */
	__be32 stamp;
	if (p->stamp_at && !bpf_skb_load_bytes(skb, p->stamp_at, &stamp, sizeof stamp))
		flow->stamp = now - bpf_ntohl(stamp);
	struct tuple answers;
	turn_round(&p->tuple, &answers);
	write_to(flow, &answers, six);
	turn_round(to, &answers);
	__u32 from = set->first_port, count = set->ports;
	bool given = false;
	for (int i = 0; i < PORT_TRIES && !given; i++, turn += PORT_STRIDE) {
		answers.destination_port = bpf_htons(from + turn % count);
		long failed = put(&answers, flow, six, BPF_NOEXIST);
		if (failed == -E2BIG || failed == -ENOMEM) {
			note(NO_ROOM);
			return false;
		}
		given = !failed;
	}
	if (!given) {
		note(NO_PORT);
		return false;
	}
	to->source_port = answers.destination_port;
	flow->flags = 0;
	flow->sent = p->sequence + 1;
	return true;
}

/* What `open_flow` has begun can't go on. */
static __always_inline void close_flow(const struct tuple *to, bool six)
{
	struct tuple answers;
	turn_round(to, &answers);
	take_away(&answers, six);
}

/* Notes how far a connection is, and forgets it once both have closed and know of each other. */
static __always_inline void track(const struct packet *p, struct flow *flow, const struct tuple *to,
				  bool six)
{
	__u32 had = flow->flags, has = had, sent = p->sequence + p->payload + p->syn + p->fin;
	bool from_node = had & FROM_NODE, ends = !p->syn && (p->fin || p->rst);
	bool answers = p->syn && p->ack && !p->fin && !p->rst && from_node;
	/* Until the node has answered, what it says is all there is to go by. Later, an end is right that
	 * comes just where this side's bytes have come to. */
	bool first = from_node && !(had & ANSWERED), expected = first || p->sequence == flow->sent;
	if (first || (p->sequence - flow->sent + IN_FLIGHT / 2 < IN_FLIGHT &&
		      (__s32)(sent - flow->sent) > 0))
		flow->sent = sent;
	if (p->ack)
		flow->acknowledged = p->acknowledged;
	if (!p->syn && !p->rst)
		has &= ~RESET; /* it may have been somebody else's: this side goes on */
	bool opens = !from_node && p->ack && !p->syn && !p->rst && (had & (ANSWERED | OPEN)) == ANSWERED;
	if (answers) /* a FIN before it was an earlier connection's */
		has = (first ? has & ~FIN : has) | ANSWERED;
	if (p->syn && !from_node && !(had & FIN))
		flow->fin_end = sent;
	/* The other side's entry is looked at where it matters, and not for each packet. Only a side that
	 * had closed before this packet can complete the end. */
	struct tuple other;
	struct flow *peer = NULL;
	if (answers || opens || had & FIN || (ends && !expected)) {
		turn_round(to, &other);
		peer = find(&other, six);
	}
	/* Who has not had the node's answer can't acknowledge it. */
	if (opens && peer && p->acknowledged - peer->sent + NEAR < 2 * NEAR)
		has |= OPEN;
	/* A reset may also be just where the other side waits for it (RFC 5961), or refuse a SYN that was
	 * sent anew; a FIN be sent again, or after what is still missing. Others may be somebody else's,
	 * and end nothing. */
	if (ends && peer && p->rst)
		expected |= p->sequence == peer->acknowledged ||
			    (from_node && p->ack && p->acknowledged == peer->fin_end &&
			     !(peer->flags & FIN));
	else if (ends && peer)
		expected |= p->sequence - peer->acknowledged < IN_FLIGHT;
	if (ends && expected && p->rst) {
		has |= RESET;
	} else if (ends && expected) {
		has |= FIN;
		flow->fin_end = sent;
	}
	if (has != had)
		flow->flags = has;
	if (!peer)
		return;
	if (answers && !(peer->flags & OPEN))
		flow->sent = sent; /* it may have been asked anew */
	if (answers && !(peer->flags & ANSWERED))
		peer->flags |= ANSWERED;
	if (had & FIN && peer->flags & FIN && (__s32)(flow->acknowledged - peer->fin_end) >= 0 &&
	    (__s32)(peer->acknowledged - flow->fin_end) >= 0)
		forget(&p->tuple, flow, &other, peer, six);
}

/* The way on to `to->destination`, into `next` and the flow, and whether the interface has this program.
 * Returns what `route` does. */
static __always_inline long find_way(struct __sk_buff *skb, const struct packet *p,
				     const struct tuple *to, bool six, struct flow *flow, __u32 now,
				     struct bpf_redir_neigh *next, bool *served)
{
	struct bpf_fib_lookup hop = {};
	long lost = route(skb, p, to, six, !p->syn, &hop);
	flow->routed = 0;
	if (lost)
		return lost;
	__builtin_memcpy(flow->link.to, hop.dmac, ETH_ALEN);
	__builtin_memcpy(flow->link.from, hop.smac, ETH_ALEN);
	next_hop(&hop, next);
	flow->interface = hop.ifindex;
	*served = bpf_map_lookup_elem(&interfaces, &hop.ifindex);
	/* Else there is no neighbour yet, or the interface may have headers of another kind. */
	if (*served &&
	    (hop.dmac[0] | hop.dmac[1] | hop.dmac[2] | hop.dmac[3] | hop.dmac[4] | hop.dmac[5]))
		flow->routed = now;
	if (p->syn)
		clamp_mss(skb, p, &hop, six);
	return 0;
}

/* Sends the packet on as the one before it went. */
static __always_inline int send_again(struct __sk_buff *skb, __u32 interface, const struct link *link)
{
	struct link *header = bytes(skb, 0, sizeof *header);
	if (!header)
		return TC_ACT_SHOT;
	*header = *link;
	return bpf_redirect(interface, 0);
}

static __always_inline int tcp_packet(struct __sk_buff *skb, struct packet *p, bool six)
{
	if (!read_tcp(skb, p))
		return PASS;
	struct flow *flow = find(&p->tuple, six);
	struct tuple to;
	bool opens = p->syn && !p->ack && !p->fin && !p->rst;
	if (flow)
		read_to(flow, &to, six);
	if (opens && flow) {
		/* Asked again without an answer, or after the end: another node is tried. */
		struct tuple other;
		turn_round(&to, &other);
		struct flow *peer = find(&other, six);
		opens = !(flow->flags & ANSWERED) || flow->flags & (FIN | RESET) ||
			(peer && peer->flags & (FIN | RESET));
		if (opens && flow->flags & FROM_NODE)
			return PASS;
		if (opens)
			forget(&p->tuple, flow, &other, peer, six);
	}
	if (opens) {
		__u32 zero = 0;
		flow = bpf_map_lookup_elem(&draft, &zero);
		if (!flow || !open_flow(skb, p, six, flow, &to))
			return PASS;
	}
	if (!flow)
		return PASS;
	struct bpf_redir_neigh next = {};
	bool served = false;
	__u16 tick = bpf_jiffies64();
	long lost = 0;
	if (p->ttl > 1 && (p->syn || tick != flow->tick || !flow->routed)) {
		__u32 now = bpf_ktime_get_coarse_ns() / NS_OF_MS;
		if (p->syn || !flow->routed || now - flow->routed > ROUTE_MS)
			lost = find_way(skb, p, &to, six, flow, now, &next, &served);
		if (!lost) {
			flow->tick = tick;
			flow->seen = now;
		}
	}
	if (lost || p->ttl <= 1) {
		note(lost ? NO_ROUTE : EXPIRED);
		if (!opens)
			return TC_ACT_SHOT;
		close_flow(&to, six);
		return PASS;
	}
	__u32 interface = flow->interface, stamp = flow->stamp;
	__u32 size = p->l4 - ETH_HLEN + p->header_bytes + p->payload;
	struct link link = flow->link;
	bool from_node = flow->flags & FROM_NODE;
	if (opens) {
		flow->bytes[0] = size;
		write_to(flow, &to, six);
		/* A node's answers would not come by an interface without this program. */
		if (!served || put(&p->tuple, flow, six, BPF_ANY)) {
			if (served)
				note(NO_ROOM);
			close_flow(&to, six);
			return PASS;
		}
	} else {
		__sync_fetch_and_add(bytes_of(flow), size);
		track(p, flow, &to, six);
	}
	if (stamp && !p->usual && !p->syn)
		find_options(skb, p);
	if (stamp && !p->usual && p->stamp_at)
		restamp(skb, p, from_node ? p->stamp_at + 4 : p->stamp_at, from_node ? -stamp : stamp);
	if (!write_tcp(skb, p, &to, six, stamp, from_node))
		return TC_ACT_SHOT;
	return next.nh_family ? send(interface, &next) : send_again(skb, interface, &link);
}

/* <linux/icmp.h> needs half of a C library. */
struct icmp_error {
	__u8 type, code;
	__sum16 checksum;
	__be32 rest;
};

enum { UNREACHABLE = 3, TIME_EXCEEDED = 11, PARAMETER = 12 }; /* RFC 792 */
enum { UNREACHABLE6 = 1, PARAMETER6 = 4 };		      /* RFC 4443; 2 and 3 between */

/* The start of the packet that an ICMP error is about: IPv4 without options, or IPv6, and TCP. */
struct quoted4 {
	struct iphdr ip;
	__be16 source_port, destination_port;
};
struct quoted6 {
	struct ipv6hdr ip;
	__be16 source_port, destination_port;
};

/* A router's or host's error about a packet that we have translated: it goes on to the end that sent
 * it, and speaks of what that end knows. It comes from whom that end has sent to, as with connection
 * tracking: a filter of reverse paths takes it for right where it would not take the router. */
static __always_inline int icmp4_error(struct __sk_buff *skb, struct packet *p)
{
	struct icmp_error *icmp = reach(skb, p->l4, sizeof *icmp + sizeof(struct quoted4));
	if (!icmp || (icmp->type != UNREACHABLE && icmp->type != TIME_EXCEEDED &&
		      icmp->type != PARAMETER))
		return PASS;
	struct quoted4 *quoted = (void *)(icmp + 1);
	if (quoted->ip.protocol != IPPROTO_TCP || quoted->ip.ihl != 5)
		return PASS;
	struct tuple answers;
	map_ipv4(&answers.source, quoted->ip.daddr);
	map_ipv4(&answers.destination, quoted->ip.saddr);
	answers.source_port = quoted->destination_port;
	answers.destination_port = quoted->source_port;
	struct flow *flow = find(&answers, false);
	if (!flow)
		return PASS;
	struct tuple to, sent;
	read_to(flow, &to, false);
	turn_round(&to, &sent);
	struct tuple outer = {.source = sent.destination, .destination = sent.source};
	struct bpf_fib_lookup hop = {};
	if (p->ttl <= 1 || route(skb, p, &outer, false, true, &hop))
		return TC_ACT_SHOT;
	/* The quoted header's own checksum makes up for its addresses. */
	__u32 ports = difference(quoted->source_port, sent.source_port,
				 difference(quoted->destination_port, sent.destination_port, 0));
	__u32 addresses = difference(quoted->ip.saddr, sent.source.word[3],
				     difference(quoted->ip.daddr, sent.destination.word[3], 0));
	__u32 inner = p->l4 + sizeof *icmp;
	if (bpf_l4_csum_replace(skb, p->l4 + offsetof(struct icmp_error, checksum), 0, ports, 0) ||
	    bpf_l3_csum_replace(skb, inner + offsetof(struct iphdr, check), 0, addresses, 0))
		return TC_ACT_SHOT;
	quoted = bytes(skb, inner, sizeof *quoted);
	if (!quoted)
		return TC_ACT_SHOT;
	quoted->ip.saddr = sent.source.word[3];
	quoted->ip.daddr = sent.destination.word[3];
	quoted->source_port = sent.source_port;
	quoted->destination_port = sent.destination_port;
	struct bpf_redir_neigh next = {};
	next_hop(&hop, &next);
	return write_ip(skb, &outer, false) ? send(hop.ifindex, &next) : TC_ACT_SHOT;
}

static __always_inline int icmp6_error(struct __sk_buff *skb, struct packet *p)
{
	struct icmp_error *icmp = reach(skb, p->l4, sizeof *icmp + sizeof(struct quoted6));
	if (!icmp || icmp->type < UNREACHABLE6 || icmp->type > PARAMETER6)
		return PASS;
	struct quoted6 *quoted = (void *)(icmp + 1);
	if (quoted->ip.nexthdr != IPPROTO_TCP)
		return PASS;
	struct tuple answers;
	copy6(&answers.source, &quoted->ip.daddr);
	copy6(&answers.destination, &quoted->ip.saddr);
	answers.source_port = quoted->destination_port;
	answers.destination_port = quoted->source_port;
	struct flow *flow = find(&answers, true);
	if (!flow)
		return PASS;
	struct tuple to, sent, said;
	read_to(flow, &to, true);
	turn_round(&to, &sent);
	turn_round(&answers, &said);
	struct tuple outer = {.source = sent.destination, .destination = sent.source};
	struct bpf_fib_lookup hop = {};
	if (p->ttl <= 1 || route(skb, p, &outer, true, true, &hop))
		return TC_ACT_SHOT;
	__s64 within = bpf_csum_diff((__be32 *)&said, sizeof said, (__be32 *)&sent, sizeof sent, 0);
	__s64 without = bpf_csum_diff((__be32 *)&p->tuple, 32, (__be32 *)&outer, 32, 0);
	__u32 check = p->l4 + offsetof(struct icmp_error, checksum);
	if (bpf_l4_csum_replace(skb, check, 0, within, 0) ||
	    bpf_l4_csum_replace(skb, check, 0, without, BPF_F_PSEUDO_HDR))
		return TC_ACT_SHOT;
	quoted = bytes(skb, p->l4 + sizeof *icmp, sizeof *quoted);
	if (!quoted)
		return TC_ACT_SHOT;
	__builtin_memcpy(&quoted->ip.saddr, &sent.source, 16);
	__builtin_memcpy(&quoted->ip.daddr, &sent.destination, 16);
	quoted->source_port = sent.source_port;
	quoted->destination_port = sent.destination_port;
	struct bpf_redir_neigh next = {};
	next_hop(&hop, &next);
	return write_ip(skb, &outer, true) ? send(hop.ifindex, &next) : TC_ACT_SHOT;
}

static __always_inline int ip_packet(struct __sk_buff *skb, bool six)
{
	struct packet p = {};
	if (!read_ip(skb, &p, six))
		return PASS;
	if (p.protocol == IPPROTO_TCP)
		return tcp_packet(skb, &p, six);
	return six ? icmp6_error(skb, &p) : icmp4_error(skb, &p);
}

/* Each family has a function of its own for the sake of the stack. The kernel begins with the first
 * that is in the section. */
static __noinline int ipv4_packet(struct __sk_buff *skb);
static __noinline int ipv6_packet(struct __sk_buff *skb);

SEC("classifier")
int nplb_fast_path(struct __sk_buff *skb)
{
	if (skb->pkt_type != PACKET_HOST || skb->vlan_present)
		return PASS; /* others' packets; a VLAN's are seen again on its own interface */
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return ipv4_packet(skb);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return ipv6_packet(skb);
	return PASS;
}

SEC("classifier")
static __noinline int ipv4_packet(struct __sk_buff *skb)
{
	return ip_packet(skb, false);
}

SEC("classifier")
static __noinline int ipv6_packet(struct __sk_buff *skb)
{
	return ip_packet(skb, true);
}

/* bpf_fib_lookup is for programs under a licence that the kernel takes for the GPL's equal. */
char terms[] SEC("license") = "GPL";

/* So that a test can tell an object that is older than its source. */
char source[] SEC("nplb.source") = SOURCE_SHA256;
