"""Versions of the programs that the toolchain builds; go.mod locks the modules that they come from."""

PULUMI = "3.260.0"
KUBERNETES = "1.36.3"
ISTIO = "1.31"
# The provider's Go module is a commit of the day before release 4.25.0; the build metadata names it. Metadata does not
# count in comparisons of versions, so the engine accepts the plugin for the SDK of 4.25.0.
KUBERNETES_PROVIDER = "4.25.0+f47bc2d6f199"
