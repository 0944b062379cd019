"""The node proxy: kube-proxy and the source side of ztunnel, as one Envoy."""
