// Command istiod is Istio's own pilot-discovery for an upstream Envoy.
//
// Five filters that istiod sends to every waypoint live only in Istio's build of Envoy. Upstream Envoy rejects a whole
// listener that names an extension it lacks, unless the filter is marked optional: then it logs and skips it. Nothing the
// lab shows depends on the five (ALPN negotiation hints and peer metadata for telemetry).
package main

import (
	"os"

	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"istio.io/istio/pilot/cmd/pilot-discovery/app"
	"istio.io/istio/pilot/pkg/xds/filters"
)

func main() {
	for _, f := range []*hcm.HttpFilter{
		filters.Alpn,
		filters.WaypointDownstreamMetadataFilter,
		filters.WaypointUpstreamMetadataFilter,
		filters.WaypointDownstreamMetadataFilterForAmbientBaggage,
		filters.WaypointUpstreamMetadataFilterForAmbientBaggage,
	} {
		f.IsOptional = true
	}
	if err := app.NewRootCommand().Execute(); err != nil {
		os.Exit(1)
	}
}
