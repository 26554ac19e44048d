package cluster

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// etcdQuiet is how long the same message of etcd's is not repeated.
const etcdQuiet = 10 * time.Second

// A zapBridge brings etcd's log into ours, a level lower (its information is our debugging) and without repetitions.
// It also notices two things that etcd tells nobody but its log: that it cannot go on, and that it was removed.
type zapBridge struct {
	log     *slog.Logger
	failed  func(reason string) // etcd said something fatal
	removed func()

	with []zapcore.Field
	said *said
}

type said struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func newZap(log *slog.Logger, failed func(string), removed func()) *zap.Logger {
	b := &zapBridge{log: log, failed: failed, removed: removed, said: &said{last: map[string]time.Time{}}}
	// Its own way after a fatal message is to end the process; that must not take the node's services along.
	return zap.New(b, zap.WithFatalHook(zapcore.WriteThenGoexit), zap.ErrorOutput(zapcore.AddSync(discard{})))
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func levelOf(l zapcore.Level) slog.Level {
	switch {
	case l <= zapcore.InfoLevel:
		return slog.LevelDebug
	case l == zapcore.WarnLevel:
		return slog.LevelInfo
	case l == zapcore.ErrorLevel:
		return slog.LevelWarn
	default:
		return slog.LevelError
	}
}

// Enabled says whether a level is wanted at all; warnings always are, for what they tell beside the log.
func (b *zapBridge) Enabled(l zapcore.Level) bool {
	return l >= zapcore.WarnLevel || l >= zapcore.InfoLevel && b.log.Enabled(context.Background(), levelOf(l))
}

// With returns a core that adds fields.
func (b *zapBridge) With(fields []zapcore.Field) zapcore.Core {
	c := *b
	c.with = append(append([]zapcore.Field(nil), b.with...), fields...)
	return &c
}

// Check asks for the entry if its level is enabled.
func (b *zapBridge) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(e.Level) {
		return c.AddCore(e, b)
	}
	return c
}

// Write passes an entry on.
func (b *zapBridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	m := zapcore.NewMapObjectEncoder()
	for _, f := range append(append([]zapcore.Field(nil), b.with...), fields...) {
		f.AddTo(m)
	}
	reason, _ := m.Fields["error"].(string)
	if e.Message == "server error" && strings.Contains(reason, "permanently removed") {
		b.removed()
	}
	if e.Level >= zapcore.DPanicLevel {
		b.failed(strings.TrimSuffix(e.Message+": "+reason, ": "))
	}
	if !b.log.Enabled(context.Background(), levelOf(e.Level)) || !b.said.again(e.Level.String()+e.Message) {
		return nil
	}
	attrs := make([]slog.Attr, 0, len(m.Fields)+1)
	for _, k := range slices.Sorted(maps.Keys(m.Fields)) {
		attrs = append(attrs, slog.Any(strings.ReplaceAll(k, "-", "_"), m.Fields[k]))
	}
	b.log.LogAttrs(context.Background(), levelOf(e.Level), "etcd: "+e.Message, attrs...)
	return nil
}

// Sync has nothing to do.
func (b *zapBridge) Sync() error { return nil }

func (s *said) again(message string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if last, ok := s.last[message]; ok && now.Sub(last) < etcdQuiet {
		return false
	}
	if len(s.last) > 1000 { // etcd's messages are constant; whatever else comes must not fill the memory
		clear(s.last)
	}
	s.last[message] = now
	return true
}
