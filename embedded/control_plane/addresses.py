"""Names and addresses of the embedded cluster. All addresses are inside its network namespace."""

NODE_NAME = "waypoint-lab"
NODE_IP = "10.244.0.1"
GATEWAY_IP = "10.244.0.3"  # of the user network, which leads outside; no Pod gets it
GATEWAY_DEVICE = "outside"  # the interface with this address; absent where Pods do not reach hosts outside
POD_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE_IP = "10.96.0.1"
API = f"https://{NODE_IP}:6443"
DOMAIN = "cluster.local"
