package postgres

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/act/account"
	"github.com/backstay/backstay/internal/act/daemon"
	"github.com/backstay/backstay/internal/act/ledger"
	"github.com/backstay/backstay/internal/decide/plan"
)

func TestCheckParameters(t *testing.T) {
	for name, c := range map[string]struct{ key, value, want string }{
		"fine":        {"work_mem", "8MB", ""},
		"extension":   {"pg_stat_statements.max", "100", ""},
		"owned":       {"primary_conninfo", "host=x", "Backstay's to set"},
		"owned, loud": {"FSYNC", "off", "Backstay's to set"},
		"two lines":   {"work_mem", "8MB'\nfsync = 'off", "one line"},
		"no name":     {"work mem", "1", "not a name"},
		"minimal":     {"wal_level", "minimal", "replica or logical"},
		"async":       {"synchronous_commit", "off", "acknowledged"},
	} {
		err := CheckParameters(map[string]string{c.key: c.value})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := CheckHBA([]string{"host all all 10.0.0.0/8 scram-sha-256", "# a note"}); err != nil {
		t.Error(err)
	}
	for _, l := range []string{"host all", "host all all 0/0 trust\nhost all all all trust"} {
		if CheckHBA([]string{l}) == nil {
			t.Errorf("accepted %q", l)
		}
	}
}

func TestSyncNames(t *testing.T) {
	for want, in := range map[string]struct {
		names  []string
		quorum int
	}{
		"":                        {nil, 0},
		`ANY 1 ("b", "c")`:        {[]string{"b", "c"}, 1},
		`ANY 2 ("x-1", "say """)`: {[]string{"x-1", `say "`}, 2},
	} {
		got := syncNames(in.names, in.quorum)
		names, quorum := parseSyncNames(got)
		if got != want || !slices.Equal(names, in.names) || quorum != in.quorum {
			t.Errorf("%v: %q, back %v %d", in, got, names, quorum)
		}
	}
	if names, quorum := parseSyncNames("FIRST 1 (b)"); quorum != 1 || !slices.Equal(names, []string{"FIRST 1 (b)"}) {
		t.Errorf("another's setting: %v %d", names, quorum)
	}
	if got := syncNames(nil, 1); got != "" {
		t.Errorf("a quorum of nobody: %q", got)
	}
}

func TestSlotName(t *testing.T) {
	seen := map[string]string{}
	for _, n := range []string{"a", "a-1", "a_1", "A_1", "a.1", strings.Repeat("n", 80), strings.Repeat("n", 81)} {
		s := slotName(n)
		if other, ok := seen[s]; ok || len(s) > 63 || notSlot.MatchString(s) {
			t.Errorf("%s and %s: %s", n, other, s)
		}
		seen[s] = n
	}
}

// A standby's files name its upstream and hold the password for it; a fenced one's neither.
func TestConfiguration(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"superuser", "replication", "rewind"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("pass:word of "+f), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e := New(Options{
		Node: "b", DataDir: filepath.Join(dir, "b"), Listen: "10.0.0.2", Peers: map[string]string{"a": "10.0.0.1:5432", "b": "10.0.0.2:5432", "c": "[fd00::3]:5433"},
		Parameters: map[string]string{"work_mem": "it's 8MB", "max_wal_senders": "20"}, HBA: []string{"host shop shop 10.9.0.0/16 scram-sha-256"},
		Passwords: Passwords{Superuser: filepath.Join(dir, "superuser"), Replication: filepath.Join(dir, "replication"), Rewind: filepath.Join(dir, "rewind")},
	})
	e.acc = account.Account{Name: "postgres", UID: os.Getuid(), GID: os.Getgid()}
	for _, d := range []string{e.confDir(), e.o.DataPath} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(e.data("standby.signal"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	read := func(st ledger.State) (conf, pass, hba string) {
		if err := errors.Join(e.persist(func(now *ledger.State) { *now = st }), e.configure()); err != nil {
			t.Fatal(err)
		}
		texts := make([]string, 3)
		for i, f := range []string{"backstay.conf", "pgpass", "pg_hba.conf"} {
			text, err := os.ReadFile(e.conf(f))
			if err != nil {
				t.Fatal(err)
			}
			texts[i] = string(text)
		}
		return texts[0], texts[1], texts[2]
	}
	conf, pass, hba := read(ledger.State{Epoch: 2, Upstream: "c"})
	for _, want := range []string{
		"work_mem = 'it''s 8MB'\n", "max_wal_senders = '20'\n", "wal_log_hints = 'on'\n", "primary_slot_name = 'backstay_b'\n", "host=\\''fd00::3\\'' port=\\''5433\\''",
		`synchronous_standby_names = 'ANY 1 ("a", "c")'`,
	} {
		if !strings.Contains(conf, want) && !strings.Contains(strings.ReplaceAll(conf, `\'`, `'`), strings.ReplaceAll(want, `\'`, `'`)) {
			t.Errorf("no %s in\n%s", want, conf)
		}
	}
	if !strings.Contains(pass, `*:*:*:backstay_replicator:pass\:word of replication`) {
		t.Errorf("pgpass: %s", pass)
	}
	for _, want := range []string{"host replication backstay_replicator fd00::3/128 scram", "host all backstay_rewinder 10.0.0.1/32 scram", "host shop shop", "host all,replication backstay_replicator,backstay_rewinder all reject"} {
		if !strings.Contains(hba, want) {
			t.Errorf("no %q in\n%s", want, hba)
		}
	}
	conf, pass, _ = read(ledger.State{Epoch: 3, Fenced: true})
	if strings.Contains(pass, "replicator") || !strings.Contains(conf, "primary_conninfo = ''\n") {
		t.Errorf("fenced: %s\n%s", pass, conf)
	}
}

// A damaged state must stop everything: the epoch is not known.
func TestDamagedState(t *testing.T) {
	dir := t.TempDir()
	e := New(Options{Node: "a", DataDir: filepath.Join(dir, "a")})
	if err := e.init(); err != nil {
		t.Fatal(err)
	}
	if err := e.persist(func(st *ledger.State) { st.Epoch = 7 }); err != nil {
		t.Fatal(err)
	}
	twice := New(Options{Node: "a", DataDir: filepath.Join(dir, "a")})
	if err := twice.Do(context.Background(), plan.Step{Kind: plan.Create, Node: "a", Epoch: 8}); !errors.Is(err, daemon.ErrOwned) {
		t.Errorf("two look after one instance: %v", err)
	}
	e.ledger.Close(func() {})
	again := New(Options{Node: "a", DataDir: filepath.Join(dir, "a")})
	if err := again.Do(context.Background(), plan.Step{Kind: plan.Create, Node: "a", Epoch: 6}); !errors.Is(err, act.ErrStale) {
		t.Errorf("an older epoch after a restart: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a", "epoch.json"), []byte(`{"epoch": `), 0o600); err != nil {
		t.Fatal(err)
	}
	again.ledger.Close(func() {})
	again = New(Options{Node: "a", DataDir: filepath.Join(dir, "a")})
	if err := again.Do(context.Background(), plan.Step{Kind: plan.Create, Node: "a", Epoch: 9}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged state: %v", err)
	}
}

func TestForkOf(t *testing.T) {
	parse := func(timeline uint32, text string) []reach {
		t.Helper()
		way, err := parseHistory(timeline, text)
		if err != nil {
			t.Fatal(err)
		}
		return way
	}
	first := parse(1, "")
	second := parse(2, "1\t0/5000\tno recovery target specified\n")
	third := parse(3, "# a note\n1\t0/5000\tno recovery target specified\n\n2\t0/9000\tno recovery target specified\n")
	other := parse(4, "1\t0/4000\tno recovery target specified\n")
	for name, c := range map[string]struct {
		a, b []reach
		want uint64
	}{
		"old primary":        {first, second, 0x5000},
		"twice over":         {first, third, 0x5000},
		"second to third":    {second, third, 0x9000},
		"two promotions":     {second, other, 0x4000},
		"behind the fork":    {third, other, 0x4000},
		"the same":           {first, first, 1<<64 - 1},
		"the same, promoted": {third, third, 1<<64 - 1},
	} {
		for _, p := range [][2][]reach{{c.a, c.b}, {c.b, c.a}} {
			if at, ok := forkOf(p[0], p[1]); at != c.want || !ok {
				t.Errorf("%s: %x %v", name, at, ok)
			}
		}
	}
	if _, ok := forkOf(parse(5, "3\t0/1\tx"), other); ok {
		t.Error("no timeline in common")
	}
	if _, err := parseHistory(2, "one 0/5000"); err == nil {
		t.Error("a damaged history")
	}
}
