package cloze_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	cloze "github.com/cloze/cloze/bindings/go"
)

// open opens a model for the time of a test.
func open(t testing.TB, folder string, options *cloze.OpenOptions) *cloze.Model {
	t.Helper()
	m, err := cloze.Open(folder, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// base opens the model of the repository, with one thread.
func base(t testing.TB) *cloze.Model {
	t.Helper()
	return open(t, filepath.Join(root, "model"), &cloze.OpenOptions{Threads: 1})
}

// shared returns the folder of a model beside the checkout. Without it the test is skipped, or fails where CLOZE_REQUIRE
// has "shared".
func shared(t testing.TB, name string) string {
	t.Helper()
	folder := filepath.Join(root, "../shared/models", name)
	if _, err := os.Stat(folder); err != nil {
		for _, required := range strings.Split(os.Getenv("CLOZE_REQUIRE"), ",") {
			if required == "shared" {
				t.Fatalf("CLOZE_REQUIRE has shared, but %v", err)
			}
		}
		t.Skipf("NOT TESTED: %v", err)
	}
	return folder
}

// moods returns examples of two labels.
func moods(t testing.TB) *cloze.Dataset {
	t.Helper()
	var examples []cloze.Example
	for _, text := range []string{
		"She laughed and danced with joy.", "It was the happiest morning of her life.", "He smiled with delight.",
		"They sang merrily all the way home.",
	} {
		examples = append(examples, cloze.Example{Input: cloze.Text(text), Target: cloze.Label("glad")})
	}
	for _, text := range []string{
		"He wept over the grave of his mother.", "She buried her face and wept.", "The poor child cried all night.",
		"His heart was heavy with grief.",
	} {
		examples = append(examples, cloze.Example{Input: cloze.Text(text), Target: cloze.Label("sad")})
	}
	data, err := cloze.NewDataset(examples...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { data.Close() })
	return data
}
