// Command kubelet-streaming serves the kubelet's port: exec, attach and port-forward with Kubernetes' own streaming
// library, everything else by the node agent.
//
// The node agent starts processes and knows the Pods; it passes descriptors of their streams over a Unix socket. This
// program copies between them and the client.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

const (
	allowedGroup  = "system:masters"
	idleTimeout   = 4 * time.Hour
	createTimeout = 30 * time.Second
)

func main() {
	listen := flag.String("listen", "", "address and port of the kubelet")
	cert := flag.String("cert", "", "the kubelet's certificate")
	key := flag.String("key", "", "the key of the certificate")
	ca := flag.String("ca", "", "the authority of client certificates")
	streams := flag.String("streams", "", "the node agent's socket for streams")
	rest := flag.String("rest", "", "the node agent's socket for HTTP requests")
	flag.Parse()
	config, err := tlsConfig(*cert, *key, *ca)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{
		Handler: authorize(handler(&agent{socket: *streams}, *rest)),
		// The supervisor's checks connect and say nothing, which is no error.
		ErrorLog: log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, clientKey{}, conn.(*tls.Conn).NetConn())
		},
	}
	log.Fatal(server.Serve(tls.NewListener(&clientListener{listener}, config)))
}

// tlsConfig returns a configuration that accepts only clients with a certificate of the cluster's authority.
func tlsConfig(certFile, keyFile, caFile string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
		MinVersion:   tls.VersionTLS12,
	}, nil
}

func authorize(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(r.TLS.PeerCertificates[0].Subject.Organization, allowedGroup) {
			http.Error(w, "kubelet: only the API server is authorized", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func handler(runtime *agent, rest string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		if options := streamOptions(w, r); options != nil {
			remotecommand.ServeExec(w, r, runtime, podName(r), "", r.PathValue("container"), r.Form["command"], options,
				idleTimeout, createTimeout, remotecommand.SupportedStreamingProtocols)
		}
	})
	mux.HandleFunc("/attach/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		if options := streamOptions(w, r); options != nil {
			remotecommand.ServeAttach(w, r, runtime, podName(r), "", r.PathValue("container"), options,
				idleTimeout, createTimeout, remotecommand.SupportedStreamingProtocols)
		}
	})
	mux.HandleFunc("/portForward/{namespace}/{pod}", func(w http.ResponseWriter, r *http.Request) {
		options, err := portforward.NewV4Options(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		portforward.ServePortForward(w, r, runtime, podName(r), "", options, idleTimeout, createTimeout,
			portforward.SupportedProtocols)
	})
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "node-agent"})
	proxy.FlushInterval = -1
	proxy.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", rest)
	}}
	mux.Handle("/", proxy)
	return mux
}

// podName returns the name that the library passes to the runtime, NAMESPACE/POD.
func podName(r *http.Request) string {
	return r.PathValue("namespace") + "/" + r.PathValue("pod")
}

func streamOptions(w http.ResponseWriter, r *http.Request) *remotecommand.Options {
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return nil
	}
	return options
}
