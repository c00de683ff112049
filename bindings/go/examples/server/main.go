// Server embeds and classifies texts over HTTP, any number of requests at the same time, and takes over a new model without
// stopping.
//
//	go run ./examples/server -model FOLDER -listen localhost:8080
//	curl -d '{"texts": ["Hello world"]}' localhost:8080/embed
//	curl -d '{"texts": ["Hello world"]}' localhost:8080/classify
//	curl -d '{"folder": "FOLDER"}' localhost:8080/model
//
// A request whose client goes away stops working. On Ctrl-C those that are running are answered first.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"time"

	cloze "github.com/cloze/cloze/bindings/go"
)

type server struct {
	model atomic.Pointer[cloze.Model]
}

type texts struct {
	Texts []string `json:"texts"`
}

// ask calls f with the model. One that was replaced between Load and the call is closed: the next Load has the new one.
func ask[T any](s *server, f func(*cloze.Model) (T, error)) (T, error) {
	for {
		answer, err := f(s.model.Load())
		if !errors.Is(err, cloze.ErrClosed) {
			return answer, err
		}
	}
}

func (s *server) embed(ctx context.Context, in texts) (any, error) {
	return ask(s, func(m *cloze.Model) (any, error) {
		vectors, err := m.Embed(ctx, cloze.Texts(in.Texts...), &cloze.EmbedOptions{Text: cloze.TextPlain | cloze.TextTruncate})
		return map[string]any{"embeddings": rows(vectors)}, err
	})
}

func (s *server) classify(ctx context.Context, in texts) (any, error) {
	return ask(s, func(m *cloze.Model) (any, error) {
		values, err := m.Classify(ctx, cloze.Texts(in.Texts...), &cloze.CallOptions{Text: cloze.TextPlain | cloze.TextTruncate})
		if err != nil {
			return nil, err
		}
		labels, err := m.Labels()
		return map[string]any{"labels": labels, "values": rows(values)}, err
	})
}

// swap opens another model; calls that run on the old one end on it, and with the last it is freed.
func (s *server) swap(_ context.Context, in struct {
	Folder string `json:"folder"`
}) (any, error) {
	m, err := cloze.Open(in.Folder, nil)
	if err != nil {
		return nil, err
	}
	s.model.Swap(m).Close()
	return m.Info(), nil
}

func rows(m cloze.Matrix) [][]float32 {
	all := make([][]float32, m.Rows())
	for i := range all {
		all[i] = m.Row(i)
	}
	return all
}

// handle answers a JSON object with what f makes of it.
func handle[In any](f func(context.Context, In) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer, err := f(r.Context(), in)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(answer) // an error here is a client that has gone
	}
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /embed", handle(s.embed))
	mux.Handle("POST /classify", handle(s.classify))
	mux.Handle("POST /model", handle(s.swap))
	return mux
}

func main() {
	folder := flag.String("model", "", "folder of the model")
	listen := flag.String("listen", "localhost:8080", "address")
	flag.Parse()
	m, err := cloze.Open(*folder, nil)
	if err != nil {
		log.Fatal(err)
	}
	s := new(server)
	s.model.Store(m)
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	log.Printf("%d parameters on http://%s", m.Info().Parameters, listener.Addr())
	if err := s.serve(ctx, listener); err != nil {
		log.Fatal(err)
	}
	s.model.Load().Close()
	log.Print("done")
}

// serve answers until the context ends, and then the requests that are running.
func (s *server) serve(ctx context.Context, listener net.Listener) error {
	web := &http.Server{Handler: s.routes(), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		limit, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		done <- web.Shutdown(limit)
	})
	defer stop()
	if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-done
}
