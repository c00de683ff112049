package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	cloze "github.com/cloze/cloze/bindings/go"
)

const demo = "../../../../model"

// taught saves a model with a classifier and returns its folder.
func taught(t *testing.T) string {
	t.Helper()
	m, err := cloze.Open(demo, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	data, err := cloze.NewDataset(
		cloze.Example{Input: cloze.Text("She laughed and danced with joy."), Target: cloze.Label("glad")},
		cloze.Example{Input: cloze.Text("He wept over the grave of his mother."), Target: cloze.Label("sad")},
	)
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	trainer, err := cloze.NewTrainer(m, &cloze.TrainOptions{Trainable: cloze.TrainableHead, Epochs: 10, LearningRate: 0.01}, data)
	if err != nil {
		t.Fatal(err)
	}
	defer trainer.Close()
	if _, err := trainer.Fit(context.Background(), data, nil, nil); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "moods")
	if err := trainer.Save(folder); err != nil {
		t.Fatal(err)
	}
	return folder
}

func post(t *testing.T, url, body string, answer any) int {
	r, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	if r.StatusCode != http.StatusOK {
		return r.StatusCode
	}
	if err := json.Unmarshal(text, answer); err != nil {
		t.Errorf("%s: %v", text, err)
	}
	return r.StatusCode
}

// TestSwap asks while models are replaced: no request fails, and none gets another answer.
func TestSwap(t *testing.T) {
	folder := taught(t)
	m, err := cloze.Open(folder, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := new(server)
	s.model.Store(m)
	defer func() { s.model.Load().Close() }()
	web := httptest.NewServer(s.routes())
	defer web.Close()
	var group sync.WaitGroup
	for range 8 {
		group.Add(1)
		go func() {
			defer group.Done()
			for range 10 {
				var embedded struct{ Embeddings [][]float32 }
				if code := post(t, web.URL+"/embed", `{"texts": ["a", "b"]}`, &embedded); code != http.StatusOK {
					t.Errorf("embed: %d", code)
				}
				if len(embedded.Embeddings) != 2 || len(embedded.Embeddings[0]) != 256 {
					t.Errorf("embed: %d embeddings", len(embedded.Embeddings))
				}
				var classified struct {
					Labels []string
					Values [][]float32
				}
				if code := post(t, web.URL+"/classify", `{"texts": ["She danced with joy."]}`, &classified); code != http.StatusOK {
					t.Errorf("classify: %d", code)
					continue
				}
				if v := classified.Values[0]; classified.Labels[0] != "glad" || v[0] < v[1] {
					t.Errorf("classify: %v %v", classified.Labels, v)
				}
			}
		}()
	}
	body, _ := json.Marshal(map[string]string{"folder": folder})
	for range 10 {
		var info cloze.Info
		if code := post(t, web.URL+"/model", string(body), &info); code != http.StatusOK || info.Labels != 2 {
			t.Errorf("model: %d, %d labels", code, info.Labels)
		}
	}
	group.Wait()
	if code := post(t, web.URL+"/model", `{"folder": "no such folder"}`, nil); code != http.StatusUnprocessableEntity {
		t.Errorf("a folder that is not there: %d", code)
	}
	if code := post(t, web.URL+"/embed", `{"texts": "no list"}`, nil); code != http.StatusBadRequest {
		t.Errorf("no list: %d", code)
	}
}

// TestShutdown ends the server in the middle of a request, which is answered.
func TestShutdown(t *testing.T) {
	m, err := cloze.Open(demo, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	s := new(server)
	s.model.Store(m)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	served := make(chan error, 1)
	go func() { served <- s.serve(ctx, listener) }()
	body, send := io.Pipe()
	request, err := http.NewRequest("POST", "http://"+listener.Addr().String()+"/embed", body)
	if err != nil {
		t.Fatal(err)
	}
	// the body is asked for when the handler reads it
	request.Header.Set("Expect", "100-continue")
	client := http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
	defer client.CloseIdleConnections()
	answered := make(chan error, 1)
	go func() {
		r, err := client.Do(request)
		if err == nil {
			defer r.Body.Close()
			if r.StatusCode != http.StatusOK {
				t.Errorf("status %d", r.StatusCode)
			}
		}
		answered <- err
	}()
	for _, part := range []string{`{"texts": `, `["a"]}`} {
		if _, err := io.WriteString(send, part); err != nil {
			t.Fatal(err)
		}
		stop()
	}
	send.Close()
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
