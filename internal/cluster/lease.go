package cluster

import (
	"errors"
	"fmt"
	"time"
)

// Errors of a Lease; compare with errors.Is.
var (
	// ErrHeld says that someone else has the lease, or may have it still.
	ErrHeld = errors.New("the lease is held")
	// ErrStale says that the epoch the caller acts for is not the newest any more.
	ErrStale = errors.New("the epoch is out of date")
)

// A LeaseRecord is what the store keeps of a lease, as JSON.
//
// Each epoch has at most one holder. Whoever takes the lease raises the epoch, but for one case: Revoke raises it
// without holding it and leaves it Open, and the next holder takes it as it is.
type LeaseRecord struct {
	Holder  string        `json:"holder,omitempty"`  // the node; empty: vacant
	Session string        `json:"session,omitempty"` // the run of the holder's process: a name that comes back is not the same holder
	Epoch   uint64        `json:"epoch"`
	TTL     time.Duration `json:"ttl"`     // nanoseconds a candidate waits for Counter to change
	Counter uint64        `json:"counter"` // another at each write
	Open    bool          `json:"open,omitempty"`
	By      string        `json:"by,omitempty"` // who revoked or released it
}

// A leaseState is one node's knowledge of a lease: pure, without store or clock. It sees records and says which write
// would be right; whoever drives it makes the write and lets it see the outcome.
//
// The argument for safety: a holder's deadline is counted from when it sent its renewal, a candidate's wait from when
// it saw that renewal in the store, which is later; the wait is the full ttl, the deadline ends a margin before; and the
// compare-and-swap fails where the record changed after it was seen.
type leaseState struct {
	holder, session string
	ttl, margin     time.Duration
	sole            bool // no earlier process of this holder can be alive

	known    bool
	record   LeaseRecord
	revision int64     // of the record; Absent: there is none
	asOf     int64     // the store's revision at which the record was like that
	since    time.Time // when this node first saw it so
	floor    uint64    // the highest epoch ever seen

	keeping  bool                 // take and keep: false after a release, or when nobody here wants the lease
	counter  uint64               // the highest this session has written or seen
	sent     map[uint64]time.Time // when each write of unknown fate was sent, by its counter
	epoch    uint64               // held; 0: none
	deadline time.Time            // until when, by the last renewal known to be good
}

// see takes in a record at a revision (Absent: there is none) that was so when the store was at asOf. It returns
// whether a renewal of this session's own was confirmed by it.
func (s *leaseState) see(r LeaseRecord, revision, asOf int64, now time.Time) (confirmed bool) {
	if s.known && asOf <= s.asOf {
		return false
	}
	if !s.known || revision != s.revision {
		s.since = now
	}
	s.known, s.record, s.revision, s.asOf = true, r, revision, asOf
	s.floor = max(s.floor, r.Epoch)
	s.counter = max(s.counter, r.Counter)
	if !s.own() {
		s.lose()
		return false
	}
	sent, ok := s.sent[r.Counter]
	if !ok || !s.keeping {
		return false
	}
	s.epoch, s.deadline = r.Epoch, sent.Add(r.TTL-s.margin)
	clear(s.sent) // writes that expected an older revision cannot be made any more
	return true
}

func (s *leaseState) own() bool { return s.record.Session == s.session && s.record.Holder == s.holder }

func (s *leaseState) lose() {
	s.keeping, s.epoch, s.deadline = false, 0, time.Time{}
	clear(s.sent)
}

// held says whether this node may act as the holder at a moment.
func (s *leaseState) held(now time.Time) bool { return s.epoch != 0 && now.Before(s.deadline) }

func (s *leaseState) vacant() bool { return s.revision == Absent || s.record.Holder == "" }

// freeAt is the moment from which the lease may be taken by this node if nothing changes; known only.
func (s *leaseState) freeAt() time.Time {
	if s.vacant() || s.own() || s.sole && s.record.Holder == s.holder {
		return s.since
	}
	if s.record.TTL <= 0 { // not written by us: as careful as we can be
		return s.since.Add(s.ttl)
	}
	return s.since.Add(s.record.TTL)
}

// take says which record would take the lease; epoch 0 is the next one, another the Open one of a revocation, or the
// one that this session has taken already without having learned of it.
func (s *leaseState) take(epoch uint64, now time.Time) (LeaseRecord, error) {
	switch {
	case epoch != 0 && s.own() && s.record.Epoch == epoch:
		s.keeping = true
		return s.renew(now), nil
	case epoch != 0 && (epoch != s.record.Epoch || !s.record.Open || !s.vacant()):
		return LeaseRecord{}, fmt.Errorf("take epoch %d: %w: %s", epoch, ErrStale, s.record)
	case now.Before(s.freeAt()):
		return LeaseRecord{}, fmt.Errorf("%w: %s", ErrHeld, s.record)
	}
	next := s.floor + 1
	if s.record.Open && s.vacant() && s.record.Epoch == s.floor {
		next = s.floor
	}
	s.keeping, s.epoch, s.deadline = true, 0, time.Time{}
	return s.write(LeaseRecord{Holder: s.holder, Session: s.session, Epoch: next, TTL: s.ttl}, now), nil
}

// renew says which record would keep the lease; only while own and keeping.
func (s *leaseState) renew(now time.Time) LeaseRecord {
	r := s.record
	r.TTL = s.ttl
	return s.write(r, now)
}

// write gives a record its counter and remembers when it was sent.
func (s *leaseState) write(r LeaseRecord, now time.Time) LeaseRecord {
	s.counter++
	r.Counter = s.counter
	s.sent[r.Counter] = now
	return r
}

// release says which record would give the lease back and stops holding it at once; false where there is nothing.
func (s *leaseState) release() (LeaseRecord, bool) {
	ours := s.known && s.own()
	s.lose()
	s.counter++
	return LeaseRecord{Epoch: s.record.Epoch, TTL: s.record.TTL, Counter: s.counter, By: s.holder}, ours
}

// revoke says which record would depose the holder of an epoch and open the next one.
func (s *leaseState) revoke(epoch uint64, by string) (LeaseRecord, error) {
	if s.record.Epoch != epoch {
		return LeaseRecord{}, fmt.Errorf("revoke epoch %d: %w: %s", epoch, ErrStale, s.record)
	}
	s.counter++
	return LeaseRecord{Epoch: s.floor + 1, TTL: s.record.TTL, Counter: s.counter, Open: true, By: by}, nil
}

// String tells of the record in a few words.
func (r LeaseRecord) String() string {
	switch {
	case r.Epoch == 0:
		return "never held"
	case r.Holder != "":
		return fmt.Sprintf("held by %s at epoch %d", r.Holder, r.Epoch)
	case r.Open:
		return fmt.Sprintf("revoked by %s, epoch %d is open", r.By, r.Epoch)
	default:
		return fmt.Sprintf("released by %s at epoch %d", r.By, r.Epoch)
	}
}
