// Alerts tells which alerts of a file of rules fire on what adapters have shown, and since when.
//
// The rules and the scrapes are read, and every expression is evaluated, by Prometheus' own packages. What is our own
// stands here: the samples lie in memory, and an alert's `for` is counted over the evaluations. Prometheus' packages
// for these two need the libraries of every cloud.
//
// It is given the path of the rules, reads a Question as JSON from standard input and prints an Answer.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// Question is what the tests ask.
type Question struct {
	// How far apart the rules are evaluated, from the first scrape to the last; times are in seconds.
	Every   int64    `json:"every"`
	Scrapes []Scrape `json:"scrapes"`
}

// Scrape is what one instance has shown at one time.
type Scrape struct {
	At       int64  `json:"at"`
	Instance string `json:"instance"`
	// The content type that came with the text.
	Type string `json:"type"`
	// What was shown; nothing if nobody has answered.
	Text *string `json:"text"`
}

// Answer is every alert of the rules, with each time that its expression was true.
type Answer struct {
	Alert string `json:"alert"`
	// The severity that it is raised with.
	Severity string `json:"severity"`
	// How long the expression must be true before it fires.
	For    int64  `json:"for"`
	Active []Span `json:"active"`
}

// Span is a time without a gap in which an expression was true for one set of labels.
type Span struct {
	Labels map[string]string `json:"labels"`
	Since  int64             `json:"since"`
	// When it began to fire, if it was true for long enough.
	Firing *int64 `json:"firing"`
	// The last evaluation that it was true in, and the value in it.
	Until int64   `json:"until"`
	Value float64 `json:"value"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "alerts:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return errors.New("name the file of rules, and nothing more")
	}
	rules, errs := rulefmt.ParseFile(
		os.Args[1], false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler),
	)
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	var question Question
	if err := json.Unmarshal(text, &question); err != nil {
		return fmt.Errorf("the question: %w", err)
	}
	if question.Every <= 0 || len(question.Scrapes) == 0 {
		return errors.New("the question: it needs scrapes and a time between evaluations")
	}
	memory, err := remember(question.Scrapes)
	if err != nil {
		return err
	}
	engine := promql.NewEngine(promql.EngineOpts{
		Logger:     slog.New(slog.DiscardHandler),
		MaxSamples: 50_000_000,
		Timeout:    time.Minute,
		// As Prometheus has it by default.
		LookbackDelta: 5 * time.Minute,
		Parser:        parser.NewParser(parser.Options{}),
	})
	answers := []Answer{}
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			if rule.Alert == "" || rule.KeepFiringFor != 0 {
				return fmt.Errorf("group %s: a rule that is no alert, or has keep_firing_for, is not read here", group.Name)
			}
			answer, err := follow(engine, memory, rule, question)
			if err != nil {
				return fmt.Errorf("%s: %w", rule.Alert, err)
			}
			answers = append(answers, answer)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(answers)
}

// Follow evaluates a rule again and again, as Prometheus does: an alert is active from the first evaluation that its
// expression is true in, fires from the first one on that comes `for` later, and ends with the first that it is not.
func follow(engine *promql.Engine, memory *memory, rule rulefmt.Rule, question Question) (Answer, error) {
	holds := int64(time.Duration(rule.For).Seconds())
	answer := Answer{Alert: rule.Alert, Severity: rule.Labels["severity"], For: holds, Active: []Span{}}
	open := map[uint64]*Span{}
	first, last := question.Scrapes[0].At, question.Scrapes[len(question.Scrapes)-1].At
	for now := first; now <= last; now += question.Every {
		query, err := engine.NewInstantQuery(context.Background(), memory, nil, rule.Expr, time.Unix(now, 0))
		if err != nil {
			return answer, err
		}
		result := query.Exec(context.Background())
		vector, err := result.Vector()
		if err != nil {
			return answer, err
		}
		// What Prometheus would say to whoever writes such a rule.
		for _, warning := range result.Warnings.AsErrors() {
			return answer, warning
		}
		seen := map[uint64]bool{}
		for _, sample := range vector {
			id := sample.Metric.Hash()
			seen[id] = true
			span, known := open[id]
			if !known {
				span = &Span{Labels: sample.Metric.Map(), Since: now}
				open[id] = span
			}
			span.Until, span.Value = now, sample.F
			if span.Firing == nil && now-span.Since >= holds {
				firing := now
				span.Firing = &firing
			}
		}
		query.Close()
		for id, span := range open {
			if !seen[id] {
				answer.Active = append(answer.Active, *span)
				delete(open, id)
			}
		}
	}
	for _, span := range open {
		answer.Active = append(answer.Active, *span)
	}
	for index := range answer.Active {
		// JSON has no word for these.
		if value := &answer.Active[index].Value; math.IsInf(*value, 0) || math.IsNaN(*value) {
			*value = math.MaxFloat64
		}
	}
	slices.SortFunc(answer.Active, func(a, b Span) int { return cmp.Compare(a.Since, b.Since) })
	return answer, nil
}

// Memory holds every sample of all scrapes.
type memory struct {
	series map[string]*series
}

type series struct {
	labels  labels.Labels
	samples []chunks.Sample
}

// Remember reads the scrapes, which come in the order of their times.
func remember(scrapes []Scrape) (*memory, error) {
	all := &memory{series: map[string]*series{}}
	shown := map[string]map[string]bool{}
	for number, scrape := range scrapes {
		if number > 0 && scrape.At < scrapes[number-1].At {
			return nil, fmt.Errorf("the scrape at %d s comes too late", scrape.At)
		}
		now := map[string]bool{}
		if scrape.Text != nil {
			if err := all.read(scrape, now); err != nil {
				return nil, fmt.Errorf("the scrape of %s at %d s: %w", scrape.Instance, scrape.At, err)
			}
		}
		// Prometheus marks what an instance shows no more, and what nobody has answered for.
		for id := range shown[scrape.Instance] {
			if !now[id] {
				all.series[id].add(scrape.At, math.Float64frombits(value.StaleNaN))
			}
		}
		shown[scrape.Instance] = now
		up := 0.0
		if scrape.Text != nil {
			up = 1
		}
		all.of(labels.NewBuilder(labels.FromStrings(labels.MetricName, "up")), scrape.Instance).add(scrape.At, up)
	}
	return all, nil
}

func (all *memory) read(scrape Scrape, now map[string]bool) error {
	text, err := textparse.New([]byte(*scrape.Text), scrape.Type, labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		return err
	}
	for {
		entry, err := text.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		_, at, number := text.Series()
		if at != nil {
			return errors.New("a sample has a time of its own, which is not read here")
		}
		var found labels.Labels
		text.Labels(&found)
		one := all.of(labels.NewBuilder(found), scrape.Instance)
		if now[one.labels.String()] {
			return fmt.Errorf("%s is shown twice", one.labels)
		}
		now[one.labels.String()] = true
		one.add(scrape.At, number)
	}
}

// The series of these labels, and of those that Prometheus adds to all that it scrapes.
func (all *memory) of(builder *labels.Builder, instance string) *series {
	full := builder.Set("instance", instance).Set("job", "panamax").Labels()
	id := full.String()
	if all.series[id] == nil {
		all.series[id] = &series{labels: full}
	}
	return all.series[id]
}

func (one *series) add(at int64, number float64) {
	one.samples = append(one.samples, sample{at * 1000, number})
}

// Querier looks at no more than the times that it is asked for.
func (all *memory) Querier(from, to int64) (storage.Querier, error) {
	choose := func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
		set := &set{SeriesSet: storage.EmptySeriesSet(), at: -1}
		for _, one := range all.series {
			if slices.ContainsFunc(matchers, func(wanted *labels.Matcher) bool {
				return !wanted.Matches(one.labels.Get(wanted.Name))
			}) {
				continue
			}
			within := slices.DeleteFunc(slices.Clone(one.samples), func(one chunks.Sample) bool {
				return one.T() < from || one.T() > to
			})
			set.all = append(set.all, storage.NewListSeries(one.labels, within))
		}
		slices.SortFunc(set.all, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
		return set
	}
	return &storage.MockQuerier{SelectMockFunction: choose}, nil
}

// Set is some series, one after the other; what it has no word for, it has of an empty one.
type set struct {
	storage.SeriesSet
	all []storage.Series
	at  int
}

func (set *set) Next() bool {
	set.at++
	return set.at < len(set.all)
}

func (set *set) At() storage.Series { return set.all[set.at] }

func (set *set) Err() error { return nil }

// Sample is a number at a time in milliseconds.
type sample struct {
	at     int64
	number float64
}

func (one sample) T() int64                      { return one.at }
func (one sample) ST() int64                     { return 0 }
func (one sample) F() float64                    { return one.number }
func (one sample) H() *histogram.Histogram       { return nil }
func (one sample) FH() *histogram.FloatHistogram { return nil }
func (one sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (one sample) Copy() chunks.Sample           { return one }
