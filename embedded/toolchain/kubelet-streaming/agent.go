package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

const dialTimeout = 5 * time.Second

// agent is the node agent's side: one connection for each request. Names of Pods are NAMESPACE/POD.
type agent struct{ socket string }

// order is a request to the node agent, one line of JSON.
type order struct {
	Op        string   `json:"op"`
	Pod       string   `json:"pod"`
	Container string   `json:"container,omitempty"`
	Command   []string `json:"command,omitempty"`
	TTY       bool     `json:"tty"`
	Stdin     bool     `json:"stdin"`
}

// answer is the node agent's: first the streams, whose descriptors come with it, or an error; later the exit code.
type answer struct {
	Streams []string `json:"streams"`
	Pid     int      `json:"pid"`
	Address string   `json:"address"`
	Error   string   `json:"error"`
	Code    int      `json:"code"`
}

type session struct {
	conn  *net.UnixConn
	first answer
	files map[string]*os.File
}

func (a *agent) open(o order) (*session, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: a.socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("the node agent does not answer: %w", err)
	}
	s := &session{conn: conn, files: map[string]*os.File{}}
	if err := s.start(o); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *session) start(o order) error {
	if err := json.NewEncoder(s.conn).Encode(o); err != nil {
		return err
	}
	data, rights := make([]byte, 1<<16), make([]byte, 256)
	n, m, _, _, err := s.conn.ReadMsgUnix(data, rights)
	if err != nil || n == 0 {
		return errors.New("the node agent ended")
	}
	messages, err := unix.ParseSocketControlMessage(rights[:m])
	if err != nil {
		return err
	}
	var handles []int
	for _, message := range messages {
		if found, err := unix.ParseUnixRights(&message); err == nil {
			handles = append(handles, found...)
		}
	}
	if err := json.Unmarshal(data[:n], &s.first); err != nil {
		return err
	}
	for i, handle := range handles {
		unix.CloseOnExec(handle)
		_ = unix.SetNonblock(handle, true)
		s.files[s.first.Streams[i]] = os.NewFile(uintptr(handle), s.first.Streams[i])
	}
	return nil
}

func (s *session) close() {
	s.conn.Close()
	for _, file := range s.files {
		file.Close()
	}
}

// relay copies all streams until the command ends, and returns its exit code.
func (s *session) relay(ctx context.Context, in io.Reader, out, errOut io.Writer,
	resize <-chan remotecommand.TerminalSize) (int, error) {
	if file := s.files["stdin"]; file != nil && in != nil {
		go func() {
			_, _ = io.Copy(file, in)
			file.Close()
		}()
	}
	if file := s.files["terminal"]; file != nil && resize != nil {
		go func() {
			for size := range resize {
				window := unix.Winsize{Row: size.Height, Col: size.Width}
				if raw, err := file.SyscallConn(); err == nil {
					_ = raw.Control(func(fd uintptr) { _ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &window) })
				}
			}
		}()
	}
	var outputs sync.WaitGroup
	for name, to := range map[string]io.Writer{"stdout": out, "stderr": errOut} {
		if file := s.files[name]; file != nil {
			outputs.Go(func() { copyOutput(to, file) })
		}
	}
	ended := make(chan error, 1)
	var last answer
	go func() { ended <- json.NewDecoder(s.conn).Decode(&last) }()
	select {
	case err := <-ended:
		if err != nil {
			return 0, errors.New("the node agent ended")
		}
	case <-clientGone(ctx):
		return 0, errors.New("the client disconnected")
	}
	// A child that outlives the command may hold its output open: no more is waited for than what is there.
	for _, name := range []string{"stdout", "stderr"} {
		if file := s.files[name]; file != nil {
			_ = file.SetReadDeadline(time.Unix(1, 0))
		}
	}
	outputs.Wait()
	return last.Code, nil
}

// copyOutput copies until the end of the file, or until its deadline and then what is left in it.
func copyOutput(to io.Writer, file *os.File) {
	if to == nil {
		to = io.Discard
	}
	if _, err := io.Copy(to, file); !errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		data := make([]byte, 1<<15)
		for {
			n, err := syscall.Read(int(fd), data)
			if n <= 0 || err != nil {
				return
			}
			if _, err := to.Write(data[:n]); err != nil {
				return
			}
		}
	})
}

// ExecInContainer runs a command in a container.
func (a *agent) ExecInContainer(ctx context.Context, pod, _, container string, command []string, in io.Reader,
	out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	s, err := a.open(order{"exec", pod, container, command, tty, in != nil})
	if err != nil {
		return err
	}
	defer s.close()
	code := s.first.Code
	if text := s.first.Error; text != "" {
		if code == 0 {
			return errors.New(text)
		}
		if errOut == nil {
			errOut = out
		}
		fmt.Fprintf(errOut, "error executing command in container: %s\n", text)
	} else if code, err = s.relay(ctx, in, out, errOut, resize); err != nil {
		return err
	}
	if code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("exit status %d", code), Code: code}
	}
	return nil
}

// AttachContainer connects the client with the streams of a container's own process.
func (a *agent) AttachContainer(ctx context.Context, pod, _, container string, in io.Reader,
	out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	s, err := a.open(order{"attach", pod, container, nil, tty, in != nil})
	if err != nil {
		return err
	}
	defer s.close()
	if s.first.Error != "" {
		return errors.New(s.first.Error)
	}
	_, err = s.relay(ctx, in, out, errOut, resize)
	return err
}

// PortForward connects a stream with a port of the address that the node agent names: the Pod's loopback address.
func (a *agent) PortForward(_ context.Context, pod, _ string, port int32, stream io.ReadWriteCloser) error {
	s, err := a.open(order{Op: "forward", Pod: pod})
	if err != nil {
		return err
	}
	s.close()
	if s.first.Error != "" {
		return errors.New(s.first.Error)
	}
	conn, err := dialInside(s.first.Pid, s.first.Address, port)
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() {
		_, _ = io.Copy(conn, stream)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	_, err = io.Copy(stream, conn)
	return err
}

// dialInside connects to a port in the network namespace of a process.
func dialInside(pid int, address string, port int32) (net.Conn, error) {
	var conn net.Conn
	done := make(chan error, 1)
	go func() {
		// The thread stays in the namespace. It is never unlocked, so it ends with the goroutine.
		runtime.LockOSThread()
		done <- func() error {
			space, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
			if err != nil {
				return err
			}
			defer space.Close()
			if err := unix.Setns(int(space.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("the Pod's network: %w", err)
			}
			conn, err = net.DialTimeout("tcp4", fmt.Sprintf("%s:%d", address, port), dialTimeout)
			return err
		}()
	}()
	err := <-done
	return conn, err
}
