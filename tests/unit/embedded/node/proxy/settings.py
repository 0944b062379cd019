"""Settings of a node whose certificates are named after their identities."""

from embedded.node.proxy.envoy_config import ProxySettings

SETTINGS = ProxySettings(
    trust_domain="cluster.local",
    pod_cidr="10.244.0.0/16",
    node_ip="10.244.0.1",
    ca="/ca.crt",
    certificate=lambda identity: (f"{identity}.crt", f"{identity}.key"),
)
