package cloze_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"

	cloze "github.com/cloze/cloze/bindings/go"
)

// The model of the repository. One thread, as numbers may differ in their last digits otherwise.
func demo() *cloze.Model {
	m, err := cloze.Open("../../model", &cloze.OpenOptions{Threads: 1})
	if err != nil {
		log.Fatal(err)
	}
	return m
}

func ExampleModel_Fill() {
	m := demo()
	defer m.Close()
	words, err := m.Fill(context.Background(), cloze.Texts("She opened the [MASK] and looked out."), &cloze.FillOptions{TopK: 2})
	if err != nil {
		log.Fatal(err)
	}
	for _, w := range words {
		text, _ := m.TokenText(w.ID)
		fmt.Printf("%s %.3f\n", text, w.Probability)
	}
	// Output:
	// door 0.680
	// window 0.062
}

func ExampleModel_Tokenize() {
	m := demo()
	defer m.Close()
	text := "a naïve café"
	tokens, err := m.Tokenize(cloze.Texts(text), nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, t := range tokens {
		if t.Text == 0 {
			fmt.Printf("%d %q\n", t.Word, text[t.Start:t.End])
		}
	}
	// Output:
	// 0 "a"
	// 1 "na"
	// 1 "ïve"
	// 2 "café"
}

func ExampleModel_Score() {
	m := demo()
	defer m.Close()
	scores, err := m.Score(context.Background(), cloze.Texts("The old woman smiled.", "The old woman smile."), nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(scores[0].LogLikelihood > scores[1].LogLikelihood)
	// Output: true
}

func ExampleModel_NextSentence() {
	m := demo()
	defer m.Close()
	follows, err := m.NextSentence(context.Background(), []cloze.Input{
		cloze.Pair("The door opened slowly.", "An old man came in and sat down."),
		cloze.Pair("The door opened slowly.", "In 1851 the price of wheat fell again."),
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.2f\n", follows)
	// Output: [0.44 0.09]
}

func ExampleModel_Embed() {
	m := demo()
	defer m.Close()
	vectors, err := m.Embed(context.Background(), cloze.Texts("The cat sat on the mat.", "A cat lay on a rug.", "War was declared."),
		&cloze.EmbedOptions{Normalize: true})
	if err != nil {
		log.Fatal(err)
	}
	cosine := func(a, b []float32) (sum float32) {
		for i := range a {
			sum += a[i] * b[i]
		}
		return sum
	}
	fmt.Println(vectors.Rows(), vectors.Width)
	fmt.Println(cosine(vectors.Row(0), vectors.Row(1)) > cosine(vectors.Row(0), vectors.Row(2)))
	// Output:
	// 3 256
	// true
}

// A program may carry its model: os.DirFS stands for an embed.FS here.
func ExampleOpenFS() {
	m, err := cloze.OpenFS(os.DirFS("../.."), "model", &cloze.OpenOptions{Threads: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	fmt.Println(m.Info().Parameters)
	// Output: 5430786
}

func ExampleTrainer_Fit() {
	m := demo()
	defer m.Close()
	lessons, err := cloze.NewDataset(
		cloze.Example{Input: cloze.Text("She laughed and danced with joy."), Target: cloze.Label("glad")},
		cloze.Example{Input: cloze.Text("It was the happiest morning of her life."), Target: cloze.Label("glad")},
		cloze.Example{Input: cloze.Text("He wept over the grave of his mother."), Target: cloze.Label("sad")},
		cloze.Example{Input: cloze.Text("The poor child cried all night."), Target: cloze.Label("sad")},
	)
	if err != nil {
		log.Fatal(err)
	}
	trainer, err := cloze.NewTrainer(m, &cloze.TrainOptions{
		Trainable: cloze.TrainableHead, Epochs: 20, LearningRate: 0.01, Seed: 7,
	}, lessons)
	if err != nil {
		log.Fatal(err)
	}
	defer trainer.Close()
	steps := 0
	result, err := trainer.Fit(context.Background(), lessons, nil, &cloze.FitOptions{Observe: func(e cloze.TrainEvent) error {
		if e.Kind == cloze.EventStep {
			steps++
		}
		return nil
	}})
	if err != nil {
		log.Fatal(err)
	}
	metrics, err := trainer.Evaluate(context.Background(), lessons, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Steps, steps, metrics["accuracy"])
	// Output: 20 20 1
}

func ExampleError() {
	_, err := cloze.Open("no such folder", nil)
	fmt.Println(errors.Is(err, cloze.ErrIO))
	m := demo()
	m.Close()
	_, err = m.Embed(context.Background(), cloze.Texts("late"), nil)
	fmt.Println(err, errors.Is(err, fs.ErrClosed))
	// Output:
	// true
	// cloze: model is closed true
}
