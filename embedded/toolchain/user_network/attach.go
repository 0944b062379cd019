package main

import (
	"encoding/binary"
	"io"
	"net"
	"net/http"

	"github.com/containers/gvisor-tap-vsock/pkg/types"
	"github.com/songgao/water"
)

const ethernetHeader = 14

// attach carries frames until one of both ends fails. Each frame on the socket has its length before it.
func attach(path, device string, mtu int) error {
	connection, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	request, err := http.NewRequest(http.MethodPost, "http://localhost"+types.ConnectPath, nil)
	if err != nil {
		return err
	}
	if err := request.Write(connection); err != nil {
		return err
	}
	// Without Persist the device, and with it its routes, would go when this process ends.
	parameters := water.PlatformSpecificParams{Name: device, Persist: true}
	tap, err := water.New(water.Config{DeviceType: water.TAP, PlatformSpecificParams: parameters})
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	go func() { failed <- send(tap, connection, mtu) }()
	go func() { failed <- receive(connection, tap) }()
	return <-failed
}

func send(tap io.Reader, connection io.Writer, mtu int) error {
	frame := make([]byte, 2+ethernetHeader+mtu)
	for {
		size, err := tap.Read(frame[2:])
		if err != nil {
			return err
		}
		binary.LittleEndian.PutUint16(frame, uint16(size))
		if _, err := connection.Write(frame[:2+size]); err != nil {
			return err
		}
	}
}

func receive(connection io.Reader, tap io.Writer) error {
	length, frame := make([]byte, 2), make([]byte, 1<<16)
	for {
		if _, err := io.ReadFull(connection, length); err != nil {
			return err
		}
		size := binary.LittleEndian.Uint16(length)
		if _, err := io.ReadFull(connection, frame[:size]); err != nil {
			return err
		}
		if _, err := tap.Write(frame[:size]); err != nil {
			return err
		}
	}
}
