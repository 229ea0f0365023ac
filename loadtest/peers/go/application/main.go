// The application behind nchan and Pushpin, which have no authentication of their own: it says who may listen.
//   - `GET /authorize` answers nchan's subrequest: 204 if the token in X-Original-URI is the user's, otherwise 403.
//   - `GET /sub/USER` answers what Pushpin passes on: a head that tells it to hold the stream, and its channels.
package main

import (
	"log"
	"net"
	"net/http"
	"net/url"
	"os"

	"idlewild/peers/tokens"
)

func main() {
	port, secretFile := os.Args[1], os.Args[2]
	verifier, err := tokens.FromFile(secretFile)
	if err != nil {
		log.Fatal(err)
	}
	user := func(target *url.URL) (string, error) { return verifier.User(target.Query().Get("token")) }

	http.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		target, err := url.ParseRequestURI(r.Header.Get("X-Original-URI"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		user, err := user(target)
		if err != nil || target.Path != "/sub/all,u"+user {
			http.Error(w, "not this user's channel", http.StatusForbidden)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	http.HandleFunc("GET /sub/{user}", func(w http.ResponseWriter, r *http.Request) {
		user, err := user(r.URL)
		if err != nil || user != r.PathValue("user") {
			http.Error(w, "not this user's channel", http.StatusForbidden)
			return
		}
		head := w.Header()
		head.Set("Content-Type", "text/event-stream")
		head.Set("Cache-Control", "no-cache")
		head.Set("Grip-Hold", "stream")
		head.Set("Grip-Channel", "all, u"+user)
		head.Set("Grip-Keep-Alive", `event: heartbeat\ndata: {}\n\n; format=cstring; timeout=30`)
	})
	log.Fatal(http.ListenAndServe(net.JoinHostPort("127.0.0.1", port), nil))
}
