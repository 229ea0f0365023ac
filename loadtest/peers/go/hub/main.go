// A hub for Server-Sent Events with net/http, as it is usually written: a goroutine and a buffered channel per client.
// `POST /publish/` needs no key.
package main

import (
	"context"
	"encoding/json"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"idlewild/peers/tokens"
)

const (
	// Events that may wait for a client. One that does not keep up is disconnected.
	backlog = 16
	// Time for which a client's socket may be full.
	writeTimeout = 10 * time.Second
	pingInterval = 30 * time.Second
)

var ping = []byte("event: heartbeat\ndata: {}\n\n")

type client struct {
	frames chan []byte
	leave  context.CancelFunc
}

func (c *client) send(frame []byte) {
	select {
	case c.frames <- frame:
	default:
		c.leave()
	}
}

type hub struct {
	mu    sync.RWMutex
	all   map[*client]struct{}
	users map[string]map[*client]struct{}
}

func (h *hub) add(user string, c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all[c] = struct{}{}
	if h.users[user] == nil {
		h.users[user] = make(map[*client]struct{}, 1)
	}
	h.users[user][c] = struct{}{}
}

func (h *hub) remove(user string, c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, c)
	delete(h.users[user], c)
	if len(h.users[user]) == 0 {
		delete(h.users, user)
	}
}

func (h *hub) publish(user *string, message []byte) {
	frame := []byte("data: " + string(message) + "\n\n")
	h.mu.RLock()
	defer h.mu.RUnlock()
	clients := h.all
	if user != nil {
		clients = h.users[*user]
	}
	for c := range clients {
		c.send(frame)
	}
}

func (h *hub) serve(verifier tokens.Verifier) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, err := verifier.User(r.URL.Query().Get("token"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		ctx, leave := context.WithCancel(r.Context())
		defer leave()
		c := &client{make(chan []byte, backlog), leave}
		h.add(user, c)
		defer h.remove(user, c)

		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-cache")
		out := http.NewResponseController(w)
		if out.Flush() != nil {
			return
		}
		pings := time.NewTicker(pingInterval)
		defer pings.Stop()
		for {
			frame := ping
			select {
			case <-ctx.Done():
				return
			case frame = <-c.frames:
			case <-pings.C:
			}
			if out.SetWriteDeadline(time.Now().Add(writeTimeout)) != nil {
				return
			}
			if _, err := w.Write(frame); err != nil {
				return
			}
			if out.Flush() != nil {
				return
			}
		}
	}
}

func main() {
	port, secretFile := os.Args[1], os.Args[2]
	verifier, err := tokens.FromFile(secretFile)
	if err != nil {
		log.Fatal(err)
	}
	h := &hub{all: make(map[*client]struct{}), users: make(map[string]map[*client]struct{})}
	http.HandleFunc("GET /events/", h.serve(verifier))
	http.HandleFunc("POST /publish/", func(w http.ResponseWriter, r *http.Request) {
		var event struct {
			User    *string         `json:"user"`
			Message json.RawMessage `json:"message"`
		}
		if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		h.publish(event.User, event.Message)
		w.WriteHeader(http.StatusAccepted)
	})
	server := &http.Server{
		Addr:              net.JoinHostPort("127.0.0.1", port),
		ReadHeaderTimeout: 10 * time.Second,
	}
	log.Fatal(server.ListenAndServe())
}
