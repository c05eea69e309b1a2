// Probe stands in for every image: it answers on the ports that templates use and tells what its container is like.
//
//	GET /                 host name, port, arguments and environment, as JSON
//	GET /get?url=URL      what the container gets from there, over a connection of its own
//	GET /send?to=ADDRESS  what the container gets from there for a datagram
//	GET /file?path=PATH   a file of the container; PUT writes one, or makes a directory if the path ends with a slash
//	GET /names?path=PATH  the names in a directory of the container, one a line
//
// Started as /pause it only waits, as the container that holds a pod's network does.
package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

var ports = []string{"80", "3306", "5432", "6379", "8080"}

// datagrams is the port that answers them, with host name and port.
const datagrams = "8125"

func main() {
	ended := make(chan os.Signal, 1)
	// The first process of a container gets no signal that it does not ask for.
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	if os.Args[0] != "/pause" {
		for _, port := range ports {
			listener, err := net.Listen("tcp", ":"+port)
			if err != nil {
				panic(err)
			}
			go http.Serve(listener, handler(port))
		}
		connection, err := net.ListenPacket("udp", ":"+datagrams)
		if err != nil {
			panic(err)
		}
		go answer(connection)
	}
	<-ended
}

// answer tells every sender of a datagram who has got it.
func answer(connection net.PacketConn) {
	host, _ := os.Hostname()
	told := tell(host, datagrams)
	buffer := make([]byte, 1500)
	for {
		if _, sender, err := connection.ReadFrom(buffer); err == nil {
			_, _ = connection.WriteTo(told, sender)
		}
	}
}

// send exchanges a datagram.
func send(address string) ([]byte, error) {
	connection, err := net.DialTimeout("udp", address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(time.Second))
	if _, err := connection.Write([]byte("who?")); err != nil {
		return nil, err
	}
	buffer := make([]byte, 1500)
	length, err := connection.Read(buffer)
	return buffer[:length], err
}

// tell packs what a container is like into one datagram at most, so without its environment.
func tell(host, port string) []byte {
	told, _ := json.Marshal(map[string]any{"host": host, "port": port, "arguments": os.Args[1:], "environment": []string{}})
	return told
}

func handler(port string) http.Handler {
	routes := http.NewServeMux()
	routes.HandleFunc("GET /{$}", func(answer http.ResponseWriter, _ *http.Request) {
		host, _ := os.Hostname()
		_ = json.NewEncoder(answer).Encode(map[string]any{"host": host, "port": port, "arguments": os.Args[1:], "environment": os.Environ()})
	})
	routes.HandleFunc("GET /get", func(answer http.ResponseWriter, request *http.Request) {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
		response, err := client.Get(request.FormValue("url"))
		if err != nil {
			http.Error(answer, err.Error(), http.StatusBadGateway)
			return
		}
		defer response.Body.Close()
		answer.WriteHeader(response.StatusCode)
		_, _ = io.Copy(answer, response.Body)
	})
	routes.HandleFunc("GET /send", func(answer http.ResponseWriter, request *http.Request) {
		told, err := send(request.FormValue("to"))
		if err != nil {
			http.Error(answer, err.Error(), http.StatusBadGateway)
			return
		}
		_, _ = answer.Write(told)
	})
	routes.HandleFunc("GET /file", func(answer http.ResponseWriter, request *http.Request) {
		content, err := os.ReadFile(request.FormValue("path"))
		if err != nil {
			http.Error(answer, err.Error(), http.StatusNotFound)
			return
		}
		_, _ = answer.Write(content)
	})
	routes.HandleFunc("GET /names", func(answer http.ResponseWriter, request *http.Request) {
		entries, err := os.ReadDir(request.FormValue("path"))
		if err != nil {
			http.Error(answer, err.Error(), http.StatusNotFound)
			return
		}
		for _, entry := range entries {
			_, _ = io.WriteString(answer, entry.Name()+"\n")
		}
	})
	routes.HandleFunc("PUT /file", func(answer http.ResponseWriter, request *http.Request) {
		path := request.FormValue("path")
		content, err := io.ReadAll(request.Body)
		if strings.HasSuffix(path, "/") {
			err = os.MkdirAll(path, 0o755)
		} else if err == nil {
			err = os.WriteFile(path, content, 0o644)
		}
		if err != nil {
			http.Error(answer, err.Error(), http.StatusConflict)
		}
	})
	return routes
}
