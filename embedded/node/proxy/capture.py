"""Capture of traffic to enrolled Pods: rules of the node that pass it to the node's proxies, with all addresses kept.

Packets between Pods cross the node. Each packet that opens a connection to an enrolled Pod goes to a proxy:

- from an enrolled Pod, to the outbound proxy, which continues by HBONE with the client's identity, to the Pod or to
  its waypoint; so do connections to Pods that are not enrolled and have a waypoint;
- by HBONE, and from any other Pod, to the inbound proxy, which enforces the policies.

Proxies connect with the address of the client, so the rules also return the answers to them. Processes of the node
itself (kubelet, its probes) reach Pods directly.
"""

import ipaddress
import struct
from collections.abc import Collection, Iterable
from pathlib import Path

from embedded.node.kubelet.sandbox import SandboxError, command
from embedded.node.proxy.nftables import (
    ACCEPT,
    DROP,
    EQUAL,
    IN_NAME,
    LOCAL_OUT,
    MARK,
    NETWORK,
    OUT_NAME,
    POST_ROUTING,
    PRE_ROUTING,
    PROTOCOL,
    TRANSPORT,
    UNEQUAL,
    NetfilterError,
    Table,
    destination_from_source,
    in_set,
    meta,
    name,
    payload,
    set_mark,
    set_source,
    to_listener,
    transparent_socket,
    verdict,
)

INBOUND_PORT = 15008
OUTBOUND_PORT = 15001
# For connections of the outbound proxy itself: to the Pod that it chose for a Service.
ENDPOINTS_PORT = 15002
# Between proxies of this node, in both directions: routed to this node whatever the address.
LOOPED = 1
# From a Pod, to be delivered on this node.
CAPTURED = 2
# From the outbound proxy.
OUTBOUND = 3
ROUTES = 15008
PRIORITY = -150
_SOURCE, _DESTINATION = 12, 16
_TCP = 6
_SYN, _SYN_ACK = b"\x02", b"\x12"


def _mark(value: int, how: int = EQUAL) -> bytes:
    return meta(MARK, struct.pack("=I", value), how)


def _packed(addresses: Iterable[str]) -> list[bytes]:
    return [ipaddress.ip_address(each).packed for each in addresses]


async def find_problem(node_ip: str, pod_cidr: str) -> str:
    """Set up routes, and rules without Pods; return the reason where this kernel refuses them, else nothing."""
    try:
        await _set_routes()
        apply(node_ip, pod_cidr, (), ())
    except (SandboxError, NetfilterError, OSError) as error:
        return str(error)
    return ""


async def _set_routes() -> None:
    """Set up the routes of marked packets."""
    # An accepted connection answers by the route of its first packet.
    Path("/proc/sys/net/ipv4/tcp_fwmark_accept").write_text("1\n")
    for preference in (5, 6, 7):
        try:
            await command("ip", "rule", "del", "pref", str(preference))
        except SandboxError:
            continue  # none from an earlier agent
    rules = [
        f"rule add pref 5 fwmark {LOOPED} lookup {ROUTES}",
        f"rule add pref 6 iif lo fwmark {CAPTURED} lookup main",
        f"rule add pref 7 fwmark {CAPTURED} lookup {ROUTES}",
        f"route replace local default dev lo table {ROUTES}",
    ]
    await command("ip", "-batch", "-", given="\n".join(rules) + "\n")


def apply(
    node_ip: str, pod_cidr: str, pods: Collection[str], enrolled: Collection[str], waypoint: Collection[str] = ()
) -> None:
    """Capture connections to enrolled Pods, and to Pods that are not known yet: the proxies refuse those.

    Args:
        node_ip: Address of the node.
        pod_cidr: Range of the Pods' addresses.
        pods: Addresses of all Pods.
        enrolled: Addresses of the enrolled Pods.
        waypoint: Addresses of the Pods that have a waypoint, enrolled or not.

    Raises:
        NetfilterError: The kernel refuses the rules.
    """
    # A free address of the node; a Pod sees it as the source of its connections to itself.
    node, hairpin = ipaddress.ip_address(node_ip).packed, (ipaddress.ip_address(node_ip) + 1).packed
    table = Table("waypoint-lab")
    table.add_set("enrolled", 4, _packed(enrolled))
    table.add_set("plain", 4, _packed(set(pods) - set(enrolled)))
    table.add_set("waypoint", 4, _packed(set(waypoint) & set(pods)))
    table.add_set("same", 8, [each * 2 for each in _packed(pods)])
    network = ipaddress.ip_network(pod_cidr)
    start, mask = network.network_address.packed, network.netmask.packed
    elsewhere = payload(NETWORK, _DESTINATION, start, UNEQUAL, mask)
    to_node, to_plain = payload(NETWORK, _DESTINATION, node), in_set(NETWORK, _DESTINATION, 4, "plain")
    loopback, other = meta(IN_NAME, name("lo")), meta(IN_NAME, name("lo"), UNEQUAL)
    from_enrolled = in_set(NETWORK, _SOURCE, 4, "enrolled")
    plain = payload(TRANSPORT, 2, struct.pack(">H", INBOUND_PORT), UNEQUAL)
    to_waypoint = other + from_enrolled + in_set(NETWORK, _DESTINATION, 4, "waypoint") + plain
    opening = payload(TRANSPORT, 13, _SYN, UNEQUAL, _SYN_ACK)
    incoming = [
        loopback + _mark(LOOPED, UNEQUAL) + verdict(ACCEPT),
        payload(NETWORK, _DESTINATION, hairpin) + destination_from_source(),
        meta(PROTOCOL, bytes([_TCP]), UNEQUAL) + verdict(ACCEPT),
        other + opening + transparent_socket() + set_mark(CAPTURED) + verdict(ACCEPT),
        opening + verdict(ACCEPT),
        *(where + verdict(ACCEPT) for where in (elsewhere, to_node)),
        to_waypoint + set_mark(CAPTURED) + to_listener(OUTBOUND_PORT) + verdict(ACCEPT),
        to_plain + verdict(ACCEPT),
        other + set_mark(CAPTURED),
        loopback + from_enrolled + plain + to_listener(ENDPOINTS_PORT) + verdict(ACCEPT),
        from_enrolled + plain + to_listener(OUTBOUND_PORT) + verdict(ACCEPT),
        from_enrolled + plain + verdict(DROP),
        to_listener(INBOUND_PORT) + verdict(ACCEPT),
        verdict(DROP),
    ]
    table.add_chain("incoming", "filter", PRE_ROUTING, PRIORITY, incoming)
    local = [
        _mark(OUTBOUND, UNEQUAL) + verdict(ACCEPT),
        meta(PROTOCOL, bytes([_TCP]), UNEQUAL) + verdict(ACCEPT),
        *(where + verdict(ACCEPT) for where in (elsewhere, to_plain)),
        # Also to the node: answers of its own servers (API server, istiod) go back to the proxy, not to the Pod.
        set_mark(LOOPED),
    ]
    table.add_chain("local", "route", LOCAL_OUT, PRIORITY, local)
    # A Pod would not answer a packet from its own address.
    hairpins = [meta(OUT_NAME, name("lo"), UNEQUAL) + in_set(NETWORK, _SOURCE, 8, "same") + set_source(hairpin)]
    table.add_chain("leaving", "filter", POST_ROUTING, 0, hairpins)
    table.apply()
