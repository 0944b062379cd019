"""A kind cluster with the Gateway API and Istio Ambient, by the tools' own commands."""

import hashlib
from pathlib import Path
from typing import Any

import pulumi
from pulumi_command import local

from waypoint_lab.config.models import KindTarget
from waypoint_lab.program.preflight import this_stack

DEFAULT_CONFIG = Path(__file__).with_suffix(".yaml")
CREATE_MINUTES, DELETE_MINUTES = 15, 5
# The owner file names the stack that created a cluster.
_BEGIN = """
set -eu
owner="$KIND_KUBECONFIG.owner"
others() { [ -e "$owner" ] && [ "$(cat "$owner")" != "$KIND_OWNER" ]; }
"""
# A cluster of this name without an owner file is not of this stack. A cluster of the stack that answers is used as it
# is; one that does not answer was left by an interruption, and is created again.
CREATE = (
    _BEGIN
    + """
drop() {
  kind delete cluster --name "$KIND_NAME" --kubeconfig "$KIND_KUBECONFIG" >&2
  rm -f "$owner" "$KIND_KUBECONFIG"
}
clusters=$(kind get clusters)
if printf '%s\\n' "$clusters" | grep -qxF "$KIND_NAME"; then
  if [ ! -e "$owner" ] || others; then
    echo "kind has a cluster $KIND_NAME already, not of this stack: set waypoint-lab:target.name to another" >&2
    exit 1
  fi
  if kubectl --kubeconfig "$KIND_KUBECONFIG" --request-timeout=10s get --raw /readyz >/dev/null 2>&1; then
    cat "$KIND_KUBECONFIG"
    exit 0
  fi
  drop
fi
mkdir -p "$(dirname "$owner")"
printf '%s' "$KIND_OWNER" > "$owner"
trap 'drop; exit 130' INT TERM
# In the background, because a shell handles no signal while it waits for a foreground command.
printf '%s' "$KIND_CONFIG" |
  kind create cluster --name "$KIND_NAME" --config - --kubeconfig "$KIND_KUBECONFIG" --wait 180s >&2 &
wait $! || { rm -f "$owner"; exit 1; }
chmod 600 "$KIND_KUBECONFIG"
cat "$KIND_KUBECONFIG"
"""
)
DELETE = (
    _BEGIN
    + """
if others; then
  echo "the cluster $KIND_NAME is that of stack $(cat "$owner"), and is not deleted" >&2
  exit 0
fi
kind delete cluster --name "$KIND_NAME" --kubeconfig "$KIND_KUBECONFIG"
rm -f "$KIND_KUBECONFIG" "$owner"
rmdir "$(dirname "$KIND_KUBECONFIG")" 2>/dev/null || true
"""
)
GATEWAY_API = """
set -eu
folder="${WAYPOINT_LAB_SHARE:?is not set; run: eval \\"\\$(.venv/bin/lab env)\\"}/gateway-api/standard"
for file in "$folder"/gateway*.yaml; do
  kubectl --kubeconfig "$KIND_KUBECONFIG" apply --server-side --force-conflicts -f "$file"
done
kubectl --kubeconfig "$KIND_KUBECONFIG" wait --for=condition=Established --timeout=60s \\
  crd/gateways.gateway.networking.k8s.io crd/httproutes.gateway.networking.k8s.io
"""
ISTIO = """
set -eu
istioctl install --kubeconfig "$KIND_KUBECONFIG" --skip-confirmation --readiness-timeout 5m \\
  --set profile=ambient --set "hub=$ISTIO_HUB" --set "tag=$ISTIO_TAG"
kubectl --kubeconfig "$KIND_KUBECONFIG" wait --for=condition=Accepted --timeout=60s gatewayclass/istio-waypoint
"""


class KindCluster(pulumi.ComponentResource):
    """A cluster created by `kind`, with the Gateway API's CRDs and Istio's ambient profile. Needs Docker or Podman.

    Raises:
        pulumi.RunError: The config file cannot be read.
    """

    kubeconfig: pulumi.Output[str]
    """The kubeconfig's contents, a secret; known once Istio is ready."""

    def __init__(self, name: str, target: KindTarget) -> None:
        """Register the commands."""
        config = Path(target.config_file or DEFAULT_CONFIG)
        try:
            text = config.read_bytes().decode()  # with its line ends, which count for the trigger
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", "it is not UTF-8")
            raise pulumi.RunError(
                f"waypoint-lab:target.configFile: {config} cannot be read ({why}); use a readable file"
            ) from None
        inputs = {"cluster_name": target.name, "kubeconfig": target.kubeconfig}
        inputs |= {"istio_hub": target.istio_hub, "istio_tag": target.istio_tag}
        inputs |= {"config": target.config_file} if target.config_file else {}
        super().__init__("waypoint-lab:index:KindCluster", name, inputs)
        environment = {"KIND_NAME": target.name, "KIND_KUBECONFIG": target.kubeconfig}
        # The contents: a path would be relative to the project, which may be another than this one.
        creation = {**environment, "KIND_CONFIG": text, "KIND_OWNER": this_stack()}
        made = self._command(
            f"{name}-cluster",
            {"create": CREATE, "delete": DELETE, "environment": creation, "logging": local.Logging.STDERR},
            triggers=[target.name, hashlib.sha256(text.encode()).hexdigest()],
            secret=True,
        )
        crds = self._command(
            f"{name}-gateway-api", {"create": GATEWAY_API, "environment": environment}, triggers=[made.id], after=made
        )
        versions = {"ISTIO_HUB": target.istio_hub, "ISTIO_TAG": target.istio_tag}
        mesh = self._command(
            f"{name}-istio", {"create": ISTIO, "environment": environment | versions}, triggers=[made.id], after=crds
        )
        self.kubeconfig = pulumi.Output.all(made.stdout, mesh.stdout).apply(lambda texts: str(texts[0]))
        self.register_outputs({"kubeconfig": self.kubeconfig})

    def _command(
        self, name: str, texts: dict[str, Any], *, triggers: list[Any], after: Any = None, secret: bool = False
    ) -> local.Command:
        limits = pulumi.CustomTimeouts(
            create=f"{CREATE_MINUTES}m", update=f"{CREATE_MINUTES}m", delete=f"{DELETE_MINUTES}m"
        )
        options = pulumi.ResourceOptions(
            parent=self,
            depends_on=[after] if after else None,
            custom_timeouts=limits,
            delete_before_replace=True,  # two clusters cannot have one name
            additional_secret_outputs=["stdout"] if secret else None,
        )
        return local.Command(name, **texts, triggers=triggers, opts=options)
