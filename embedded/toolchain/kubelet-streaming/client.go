package main

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
)

// clientKey is the context's key of a request's clientConn.
type clientKey struct{}

// clientConn is a connection that tells when the client is gone, also to a handler that has hijacked it.
type clientConn struct {
	net.Conn
	gone chan struct{}
	once sync.Once
}

type clientListener struct{ net.Listener }

func (l *clientListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &clientConn{Conn: conn, gone: make(chan struct{})}, nil
}

func (c *clientConn) Read(data []byte) (int, error) {
	n, err := c.Conn.Read(data)
	// The HTTP server ends its own read by a deadline when a handler hijacks the connection.
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.once.Do(func() { close(c.gone) })
	}
	return n, err
}

// clientGone returns a channel that is closed when the client of the request has disconnected.
func clientGone(ctx context.Context) <-chan struct{} {
	if client, ok := ctx.Value(clientKey{}).(*clientConn); ok {
		return client.gone
	}
	return nil
}
