// Command pulumi-resource-kubernetes is the official Pulumi provider for Kubernetes.
//
// The official main embeds a schema file that its Go module does not contain. The build overlays schema.json and
// terraform-mapping.json with the module's own files, so that this folder holds no copy of them.
package main

import (
	"bytes"
	_ "embed"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/version"
)

//go:embed schema.json
var schema []byte

//go:embed terraform-mapping.json
var terraformMapping []byte

func main() {
	// A released schema names its version; the one in the module does not.
	versioned := bytes.Replace(schema, []byte("{"), []byte(`{"version": "`+version.Version+`",`), 1)
	provider.Serve("kubernetes", version.Version, versioned, terraformMapping)
}
