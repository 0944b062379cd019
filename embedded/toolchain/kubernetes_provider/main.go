// Command pulumi-resource-kubernetes is the official Pulumi provider for Kubernetes.
//
// The official main embeds a schema file that its Go module does not contain. The build overlays schema.json and
// terraform-mapping.json with the module's own files, so that this folder holds no copy of them.
package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/version"
)

//go:embed schema.json
var schema []byte

//go:embed terraform-mapping.json
var terraformMapping []byte

// useTemporaryFolder gives this process a folder of its own for temporary files, and removes it when the engine ends the
// process by a signal: the provider writes a copy of the kubeconfig there, and leaves it behind. It returns the folder,
// to be removed at any other end.
func useTemporaryFolder() string {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM) // first: an engine may end the process at once
	folder, err := os.MkdirTemp("", "pulumi-kubernetes-")
	if err != nil {
		fmt.Fprintf(os.Stderr, "pulumi-resource-kubernetes: %v; set TMPDIR to a folder that can be written\n", err)
		os.Exit(1)
	}
	os.Setenv("TMPDIR", folder)
	go func() {
		<-ended
		os.RemoveAll(folder)
		os.Exit(0)
	}()
	return folder
}

func main() {
	folder := useTemporaryFolder()
	// A released schema names its version; the one in the module does not.
	versioned := bytes.Replace(schema, []byte("{"), []byte(`{"version": "`+version.Version+`",`), 1)
	provider.Serve("kubernetes", version.Version, versioned, terraformMapping)
	os.RemoveAll(folder)
}
