package cloze_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	cloze "github.com/cloze/cloze/bindings/go"
)

// object is a JSON object of bindings/vectors.json, whose schema bindings/README.md tells.
type object = map[string]any

type vectors struct {
	t         *testing.T
	models    map[string]*cloze.Model
	constants object
	datasets  object
	tolerance []object // from the case, then from the file
}

const root = "../.."

// plain is a name without what differs between languages: "log_likelihood" and LogLikelihood are one.
func plain(name string) string {
	return strings.ToLower(strings.ReplaceAll(name, "_", ""))
}

// set gives a field of a Go value what JSON says.
func (v *vectors) set(to reflect.Value, from any) {
	switch from := from.(type) {
	case object:
		for name, value := range from {
			field := to.FieldByNameFunc(func(f string) bool { return plain(f) == plain(name) })
			if !field.IsValid() {
				v.t.Fatalf("%s has no field for %q", to.Type(), name)
			}
			v.set(field, value)
		}
	case []any:
		if to.Kind() != reflect.Slice { // bits
			for _, name := range from {
				to.SetUint(to.Uint() | uint64(v.number(name)))
			}
			return
		}
		for _, value := range from {
			element := reflect.New(to.Type().Elem()).Elem()
			v.set(element, value)
			to.Set(reflect.Append(to, element))
		}
	case bool:
		to.SetBool(from)
	default:
		if s, ok := from.(string); ok && to.Kind() == reflect.String {
			to.SetString(s)
		} else {
			to.Set(reflect.ValueOf(v.number(from)).Convert(to.Type()))
		}
	}
}

func (v *vectors) number(value any) float64 {
	if name, ok := value.(string); ok {
		value, ok = v.constants[name]
		if !ok {
			v.t.Fatalf("no constant %q", name)
		}
	}
	return value.(float64)
}

// into returns options of a call, nil where there are none.
func into[T any](v *vectors, from any) *T {
	if from == nil {
		return nil
	}
	options := new(T)
	v.set(reflect.ValueOf(options).Elem(), from)
	return options
}

func list[T any](v *vectors, from any) []T {
	var l []T
	if from != nil {
		v.set(reflect.ValueOf(&l).Elem(), from)
	}
	return l
}

func (v *vectors) inputs(from any) []cloze.Input {
	var inputs []cloze.Input
	for _, in := range from.([]any) {
		inputs = append(inputs, v.input(in.(object)))
	}
	return inputs
}

func (v *vectors) input(in object) cloze.Input {
	if digits, ok := in["utf8"].(string); ok {
		var b []byte
		if _, err := fmt.Sscanf(digits, "%x", &b); err != nil {
			v.t.Fatal(err)
		}
		return cloze.Text(string(b))
	}
	if ids, ok := in["ids"]; ok {
		return cloze.IDs(list[int32](v, ids), list[int32](v, in["types"]))
	}
	text := in["text"].(string)
	if times, ok := in["times"].(float64); ok {
		text = strings.Repeat(text, int(times))
	}
	if pair, ok := in["pair"].(string); ok {
		return cloze.Pair(text, pair)
	}
	return cloze.Text(text)
}

func (v *vectors) examples(from any) []any {
	if name, ok := from.(string); ok {
		from = v.datasets[name]
	}
	return from.([]any)
}

func (v *vectors) dataset(examples []any) (*cloze.Dataset, error) {
	data, err := cloze.NewDataset()
	if err != nil {
		return nil, err
	}
	v.t.Cleanup(func() { data.Close() })
	for _, e := range examples {
		e := e.(object)
		if words, ok := e["words"]; ok {
			if err := data.AddWords(list[string](v, words), list[string](v, e["tags"])); err != nil {
				return nil, err
			}
			continue
		}
		var target cloze.Target
		switch {
		case e["label"] != nil:
			target = cloze.Label(e["label"].(string))
		case e["labels"] != nil:
			target = cloze.Labels(list[string](v, e["labels"])...)
		case e["number"] != nil:
			target = cloze.Numbers(float32(e["number"].(float64)))
		case e["numbers"] != nil:
			target = cloze.Numbers(list[float32](v, e["numbers"])...)
		case e["answer"] != nil:
			target = cloze.Answer(e["answer"].(string), int(e["start"].(float64)))
		case e["token_labels"] != nil:
			target = cloze.TokenLabels(list[int32](v, e["token_labels"]))
		}
		if err := data.Add(cloze.Example{Input: v.input(e), Target: target}); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// within returns the tolerance of a number below fields of these names, the nearest last.
func (v *vectors) within(fields []string) float64 {
	for _, tolerance := range v.tolerance {
		for i := len(fields) - 1; i >= 0; i-- {
			if t, ok := tolerance[fields[i]].(float64); ok {
				return t
			}
		}
		if t, ok := tolerance["default"].(float64); ok {
			return t
		}
	}
	return 0
}

// compare compares what JSON expects with a Go value that has at least its fields.
func (v *vectors) compare(want any, got reflect.Value, fields ...string) {
	t, at := v.t, strings.Join(fields, ".")
	t.Helper()
	for got.IsValid() && (got.Kind() == reflect.Interface || got.Kind() == reflect.Pointer) {
		got = got.Elem()
	}
	if !got.IsValid() {
		t.Errorf("%s: nothing, expected %v", at, want)
		return
	}
	switch want := want.(type) {
	case object:
		for name, value := range want {
			var field reflect.Value
			if got.Kind() == reflect.Map {
				field = got.MapIndex(reflect.ValueOf(name))
			} else {
				field = got.FieldByNameFunc(func(f string) bool { return plain(f) == plain(name) })
			}
			if !field.IsValid() {
				t.Errorf("%s: no %s", at, name)
				continue
			}
			v.compare(value, field, append(fields[:len(fields):len(fields)], name)...)
		}
	case []any:
		if m, ok := got.Interface().(cloze.Matrix); ok {
			rows := make([][]float32, m.Rows())
			for i := range rows {
				rows[i] = m.Row(i)
			}
			got = reflect.ValueOf(rows)
		}
		if got.Len() != len(want) {
			t.Errorf("%s: %d elements, expected %d: %v", at, got.Len(), len(want), got)
			return
		}
		for i := range want {
			v.compare(want[i], got.Index(i), append(fields[:len(fields):len(fields)], fmt.Sprint(i))...)
		}
	case string:
		if got.String() != want {
			t.Errorf("%s: %q, expected %q", at, got, want)
		}
	case bool:
		if got.Bool() != want {
			t.Errorf("%s: %v, expected %v", at, got, want)
		}
	case nil:
		if !math.IsNaN(got.Float()) {
			t.Errorf("%s: %v, expected NaN", at, got)
		}
	case json.Number:
		v.compareNumber(want, got, at, fields)
	default:
		t.Errorf("%s: %T in the file", at, want)
	}
}

func (v *vectors) compareNumber(want json.Number, got reflect.Value, at string, fields []string) {
	v.t.Helper()
	var number float64
	switch {
	case got.Kind() == reflect.Bool && got.Bool():
		number = 1
	case got.Kind() == reflect.Bool:
	case got.CanInt():
		number = float64(got.Int())
	case got.CanUint():
		number = float64(got.Uint())
	case got.CanFloat():
		number = got.Float()
	default:
		v.t.Errorf("%s: %s, expected a number", at, got.Kind())
		return
	}
	expected, err := want.Float64()
	if err != nil {
		v.t.Fatal(err)
	}
	room := 0.0
	if strings.ContainsAny(want.String(), ".eE") {
		room = v.within(fields) * max(1, math.Abs(expected))
	}
	if !(math.Abs(number-expected) <= room) {
		v.t.Errorf("%s: %v, expected %v within %g", at, number, want, room)
	}
}

// numbers turns json.Number into float64, but not in what is expected.
func numbers(value any) any {
	switch value := value.(type) {
	case object:
		for name, v := range value {
			if name != "expected" {
				value[name] = numbers(v)
			}
		}
	case []any:
		for i, v := range value {
			value[i] = numbers(v)
		}
	case json.Number:
		f, _ := value.Float64()
		return f
	}
	return value
}

// TestVectors makes the calls that the tests of every language make.
func TestVectors(t *testing.T) {
	file, err := os.Open("../vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	decoder := json.NewDecoder(file)
	decoder.UseNumber()
	var all object
	if err := decoder.Decode(&all); err != nil {
		t.Fatal(err)
	}
	numbers(all)
	if all["format"] != 1.0 {
		t.Fatalf("format %v, this test reads 1", all["format"])
	}
	models := map[string]*cloze.Model{}
	options := &cloze.OpenOptions{Threads: int(all["threads"].(float64))}
	for name, folder := range all["models"].(object) {
		models[name] = open(t, filepath.Join(root, folder.(string)), options)
	}
	for _, c := range all["cases"].([]any) {
		c := c.(object)
		t.Run(c["name"].(string), func(t *testing.T) {
			v := &vectors{t: t, models: models, constants: all["constants"].(object), datasets: all["datasets"].(object)}
			if own, ok := c["tolerance"].(object); ok {
				v.tolerance = append(v.tolerance, own)
			}
			v.tolerance = append(v.tolerance, all["tolerance"].(object))
			name, _ := c["model"].(string)
			if name == "" {
				name = "base"
			}
			got, err := v.call(models[name], c)
			v.judge(c, got, err)
		})
	}
}

func (v *vectors) judge(c object, got any, err error) {
	var e *cloze.Error
	call := c["call"].(string)
	if (call == "solve" || call == "whiten") && errors.Is(err, cloze.ErrUnsupported) && strings.Contains(err.Error(), "linalg") {
		v.t.Log("the library was built without linalg: ", err)
		return
	}
	want, isError := c["error"].(object)
	switch {
	case !isError && err != nil:
		v.t.Fatal(err)
	case !isError:
		v.compare(c["expected"], reflect.ValueOf(got), answerName(call)...)
	case err == nil:
		v.t.Fatalf("no error, expected %v", want)
	case !errors.As(err, &e):
		v.t.Fatalf("%T: %v", err, err)
	case e.Status.String() != want["status"] || !strings.Contains(e.Message, want["message"].(string)):
		v.t.Fatalf("%s %q, expected %v", e.Status, e.Message, want)
	}
}

// answerName is the field that a plain answer is compared as.
func answerName(call string) []string {
	return []string{call}
}
