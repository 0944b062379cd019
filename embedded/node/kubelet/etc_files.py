"""The files in /etc that every container of a Pod has: hostname, hosts and resolv.conf."""

from pathlib import Path

from embedded.kube import Object
from embedded.node.config import NodeConfig


def host_name(pod: Object) -> str:
    """Return the host name of a Pod; the kernel allows 63 characters.

    Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/kubelet_pods.go
    """
    spec = pod["spec"]
    return str(spec.get("hostnameOverride") or spec.get("hostname") or pod["metadata"]["name"])[:63].rstrip("-.")


def write_etc(folder: Path, config: NodeConfig, pod: Object, hostname: str, ip: str) -> None:
    """Write the files to `folder`, by the Pod's dnsPolicy, dnsConfig and hostAliases."""
    folder.mkdir(parents=True, exist_ok=True)
    spec, namespace, domain = pod["spec"], pod["metadata"]["namespace"], config.cluster_domain
    own = spec.get("dnsConfig") or {}
    servers, search, options = [config.node_ip], [f"{namespace}.svc.{domain}", f"svc.{domain}", domain], ["ndots:5"]
    if spec.get("dnsPolicy") in ("Default", "None"):
        search, options = [], []
    if spec.get("dnsPolicy") == "None":
        servers = []
    servers += own.get("nameservers") or []
    search += own.get("searches") or []
    options += [f"{o['name']}:{o['value']}" if o.get("value") else o["name"] for o in own.get("options") or []]
    lines = [f"nameserver {each}" for each in servers]
    lines += [f"{word} {' '.join(given)}" for word, given in (("search", search), ("options", options)) if given]
    (folder / "resolv.conf").write_text("\n".join(lines) + "\n")
    full = f"{hostname}.{spec['subdomain']}.{namespace}.svc.{domain}\t" if spec.get("subdomain") else ""
    hosts = [f"127.0.0.1\tlocalhost\n{ip}\t{full}{hostname}"]
    hosts += [f"{alias['ip']}\t{' '.join(alias['hostnames'])}" for alias in spec.get("hostAliases") or []]
    (folder / "hosts").write_text("\n".join(hosts) + "\n")
    (folder / "hostname").write_text(hostname + "\n")
