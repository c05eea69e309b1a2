package main

import (
	"bufio"
	"io"
	"net"
	"os"
	"strings"
)

// listeners belong to the host's network; whoever started this process opened them.
type listeners struct {
	api, door net.Listener
	port      int
}

func hostListeners() (*listeners, error) {
	api, err := net.FileListener(os.NewFile(apiListener, "api"))
	if err != nil {
		return nil, err
	}
	door, err := net.FileListener(os.NewFile(doorListener, "door"))
	if err != nil {
		return nil, err
	}
	return &listeners{api, door, api.Addr().(*net.TCPAddr).Port}, nil
}

// open begins to pass connections on: to the API server, and to wherever they ask for; returns where they may ask.
func (listeners *listeners) open(server string) string {
	go relay(listeners.api, server)
	go door(listeners.door)
	return listeners.door.Addr().String()
}

// relay passes every connection of a listener on to one address, as seen from here.
//
// A listener stays in the network namespace it was opened in, whoever accepts from it: this is how the host's
// loopback reaches into a node that is connected to nothing.
func relay(listener net.Listener, address string) {
	accept(listener, func(net.Conn) (io.Reader, string, error) { return nil, address, nil })
}

// door passes every connection on to the address that its first line names.
func door(listener net.Listener) {
	accept(listener, func(here net.Conn) (io.Reader, string, error) {
		rest := bufio.NewReader(here)
		line, err := rest.ReadString('\n')
		return rest, strings.TrimSpace(line), err
	})
}

func accept(listener net.Listener, target func(net.Conn) (io.Reader, string, error)) {
	for {
		here, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer here.Close()
			asking, address, err := target(here)
			if err != nil {
				return
			}
			if asking == nil {
				asking = here
			}
			there, err := net.Dial("tcp", address)
			if err != nil {
				return
			}
			defer there.Close()
			go func() {
				_, _ = io.Copy(there, asking)
				_ = there.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(here, there)
		}()
	}
}
