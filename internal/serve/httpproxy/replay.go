package httpproxy

// A replay gives a request's body to one try after another, as long as it is small enough to be kept.
type replay struct {
	source source
	limit  int64
	length int64 // as announced
	piece  piece // the one that has End, where it was the first
	kept   []byte
	at     int  // of kept: what this try was given
	ended  bool // kept has the whole body
	over   bool // it was too large to be kept: the body can be sent no second time
	whole  bool // piece is the whole body
	read   int64
}

// reset begins a new body. length is as in http1.Request.
func (r *replay) reset(s source, length, limit int64) {
	*r = replay{source: s, limit: limit, length: length, kept: r.kept[:0]}
	if length == 0 {
		r.ended, r.whole, r.piece = true, true, piece{End: true}
	}
}

// rewind begins the body again, for another try.
func (r *replay) rewind() { r.at = 0 }

// again says whether the body can be given once more.
func (r *replay) again() bool { return !r.over }

// Ready says whether Next would return without waiting.
func (r *replay) Ready() bool { return r.ended || r.at < len(r.kept) || r.source.Ready() }

// Next gives the next piece to this try.
func (r *replay) Next() (piece, error) {
	if r.whole {
		return r.piece, nil
	}
	if r.ended || r.at < len(r.kept) {
		p := piece{Data: r.kept[r.at:], End: r.ended, Trailers: r.piece.Trailers}
		r.at = len(r.kept)
		return p, nil
	}
	p, err := r.source.Next()
	if err != nil {
		return p, err
	}
	r.read += int64(len(p.Data))
	r.keep(p)
	return p, nil
}

func (r *replay) keep(p piece) {
	switch {
	case r.over:
		return
	case p.End && r.read == int64(len(p.Data)) && r.read <= r.limit:
		r.whole, r.ended, r.piece = true, true, p // stays valid: nothing to copy
		return
	case r.read > r.limit:
		r.over = true
		return
	}
	r.kept = append(r.kept, p.Data...)
	r.at = len(r.kept)
	r.ended = p.End
	r.piece.Trailers = p.Trailers
}

// held is how many bytes are kept in memory.
func (r *replay) held() int64 {
	if r.whole {
		return int64(len(r.piece.Data))
	}
	return int64(len(r.kept))
}
