package event

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func seqs(records []Record) string {
	var s []string
	for _, r := range records {
		if r.Kind == Gap {
			s = append(s, fmt.Sprintf("gap%v", r.Fields["missed"]))
			continue
		}
		s = append(s, fmt.Sprint(r.Seq))
	}
	return strings.Join(s, " ")
}

func TestRingKeepsTheNewest(t *testing.T) {
	l := NewLog(Options{Size: 4, Node: "n1"})
	if got := l.Since(0, 0); got != nil {
		t.Fatalf("empty log has %v", got)
	}
	for range 6 {
		l.Append(Record{Kind: MemberUp})
	}
	for _, c := range []struct {
		seq  uint64
		max  int
		want string
	}{
		{0, 0, "3 4 5 6"}, {0, 2, "3 4"}, {4, 0, "5 6"}, {5, 1, "6"}, {6, 0, ""}, {99, 0, ""}, {2, 0, "3 4 5 6"},
	} {
		if got := seqs(l.Since(c.seq, c.max)); got != c.want {
			t.Errorf("Since(%d, %d) = %q, want %q", c.seq, c.max, got, c.want)
		}
	}
	for n, want := range map[int]string{0: "", 1: "6", 3: "4 5 6", 10: "3 4 5 6"} {
		if got := seqs(l.Last(n)); got != want {
			t.Errorf("Last(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestAppendFillsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLog(Options{Node: "n1"})
		r := l.Append(Record{Kind: MemberDown, Member: "a"})
		if r.Seq != 1 || r.Node != "n1" || !r.Time.Equal(time.Now()) {
			t.Errorf("got %+v", r)
		}
		at := time.Now().Add(-time.Hour)
		if r := l.Append(Record{Node: "n2", Time: at}); r.Node != "n2" || !r.Time.Equal(at) || r.Seq != 2 {
			t.Errorf("got %+v", r)
		}
	})
}

func TestRecordsAreBounded(t *testing.T) {
	fields := map[string]any{}
	for i := range 100 {
		fields[fmt.Sprint(i)] = strings.Repeat("é", 5000)
	}
	l := NewLog(Options{})
	r := l.Append(Record{Message: strings.Repeat("x", 1<<20), Fields: fields})
	if len(r.Message) > maxText || !strings.HasSuffix(r.Message, "x…") {
		t.Errorf("message has %d bytes", len(r.Message))
	}
	if len(r.Fields) != maxFields {
		t.Errorf("%d fields", len(r.Fields))
	}
	for _, v := range r.Fields {
		if s := v.(string); len(s) > maxText || strings.Contains(s, "\ufffd") {
			t.Fatalf("value of %d bytes", len(s))
		}
	}
	fields["own"] = 1
	if _, shared := l.Last(1)[0].Fields["own"]; shared {
		t.Error("the log shares the caller's map")
	}
}

func TestValuesBecomePlain(t *testing.T) {
	for _, c := range []struct{ in, want any }{
		{3, 3}, {uint8(3), uint8(3)}, {1.5, 1.5}, {math.Inf(1), "+Inf"}, {true, true}, {nil, nil}, {"s", "s"},
		{time.Second, "1s"}, {errors.New("broken"), "broken"}, {[]int{1, 2}, "[1 2]"},
		{time.Unix(0, 0).UTC(), "1970-01-01T00:00:00Z"}, {float32(2), "2"},
	} {
		if got := plain(c.in); got != c.want {
			t.Errorf("plain(%v) = %#v, want %#v", c.in, got, c.want)
		}
	}
}

func TestSubscribeBeginsNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := NewLog(Options{})
		l.Append(Record{})
		sub := l.Subscribe(ctx)
		l.Append(Record{Message: "second"})
		if r := <-sub; r.Seq != 2 || r.Message != "second" {
			t.Errorf("got %+v", r)
		}
		go l.Append(Record{})
		if r := <-sub; r.Seq != 3 {
			t.Errorf("got %+v", r)
		}
		cancel()
		if r, open := <-sub; open {
			t.Errorf("after the end: %+v", r)
		}
	})
}

func TestFollowBeginsWhereAsked(t *testing.T) {
	l := NewLog(Options{})
	for range 3 {
		l.Append(Record{})
	}
	sub := l.Follow(t.Context(), 1)
	if a, b := <-sub, <-sub; a.Seq != 2 || b.Seq != 3 {
		t.Errorf("got %d, %d", a.Seq, b.Seq)
	}
	ahead := l.Follow(t.Context(), 1000)
	l.Append(Record{})
	if r := <-ahead; r.Seq != 4 {
		t.Errorf("a reader ahead of the log got %d", r.Seq)
	}
}

func TestSlowSubscriberIsToldAndDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		l := NewLog(Options{Size: 8})
		slow := l.Subscribe(ctx)
		for range 1000 {
			l.Append(Record{})
			synctest.Wait()
		}
		var got []Record
		for len(got) == 0 || got[len(got)-1].Seq < 1000 {
			got = append(got, <-slow)
		}
		taken, gaps, last := 0, uint64(0), uint64(0)
		for _, r := range got {
			if r.Kind == Gap {
				gaps += r.Fields["missed"].(uint64)
			} else {
				taken++
			}
			if r.Seq <= last {
				t.Fatalf("order: %s", seqs(got))
			}
			last = r.Seq
		}
		if uint64(taken)+gaps != 1000 || gaps == 0 {
			t.Errorf("%d taken, %d missed: %s", taken, gaps, seqs(got))
		}
	})
}

func TestManyAppendersAndReaders(t *testing.T) {
	l := NewLog(Options{Size: 10000})
	sub := l.Subscribe(t.Context())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				l.Append(Record{})
				l.Last(3)
			}
		})
	}
	for want := uint64(1); want <= 800; want++ {
		if r := <-sub; r.Seq != want {
			t.Fatalf("got %d, want %d", r.Seq, want)
		}
	}
	wg.Wait()
}
