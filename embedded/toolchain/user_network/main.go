// Command user_network gives the cluster's network namespace the connections of the user who starts it.
//
// `serve` runs outside the namespace: TCP, UDP and DNS end in a network stack of this process (gvisor-tap-vsock, which
// Podman uses), which makes connections of its own. Nothing listens but a Unix socket, and no address leads to
// 127.0.0.0/8. `attach` runs inside, and carries packets between a tap device and that socket.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/containers/gvisor-tap-vsock/pkg/types"
	"github.com/containers/gvisor-tap-vsock/pkg/virtualnetwork"
)

func serve(path string, configuration *types.Configuration) error {
	network, err := virtualnetwork.New(configuration)
	if err != nil {
		return err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	// Of the library's own paths only this one: others open ports of the machine.
	paths := http.NewServeMux()
	paths.Handle(types.ConnectPath, network.Mux())
	server := &http.Server{Handler: paths, ReadHeaderTimeout: 10 * time.Second}
	return server.Serve(listener)
}

func main() {
	path := flag.String("socket", "", "path of the Unix socket")
	device := flag.String("device", "", "attach: name of the tap device, which exists")
	subnet := flag.String("subnet", "", "serve: range of all addresses that packets come from")
	gateway := flag.String("gateway", "", "serve: address of the gateway, which answers DNS; inside the range")
	mac := flag.String("mac", "", "serve: link address of the gateway")
	mtu := flag.Int("mtu", 1500, "bytes of the longest packet")
	flag.Parse()
	switch flag.Arg(0) {
	case "serve":
		log.Fatal(serve(*path, &types.Configuration{
			MTU:               *mtu,
			Subnet:            *subnet,
			GatewayIP:         *gateway,
			GatewayMacAddress: *mac,
			Protocol:          types.HyperKitProtocol,
		}))
	case "attach":
		log.Fatal(attach(*path, *device, *mtu))
	default:
		log.Fatal(fmt.Sprintf("%q is neither serve nor attach", flag.Arg(0)))
	}
}
