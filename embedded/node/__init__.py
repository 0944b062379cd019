"""The node agent: kubelet, node proxy and DNS."""
