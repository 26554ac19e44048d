package http1

// Field is one field line of a head.
type Field struct {
	// Name is as it was sent.
	Name []byte
	// Value is without the white space around it.
	Value []byte

	start, end uint32 // the whole line in the head, CRLF included

	// ID is which well-known name it is.
	ID ID
	// Drop keeps the line from being copied by AppendFields and AppendHead. Parse sets it on all that must not be forwarded: hop-by-hop
	// fields, those the Connection field lists, Transfer-Encoding (the sender frames anew). Callers set it on what they replace.
	Drop bool
}

// hopByHop are the fields for one connection only (RFC 9110, section 7.6.1; RFC 9113, section 8.2.2; RFC 9110, section 11.7).
const hopByHop = Set(1)<<TransferEncoding | 1<<Connection | 1<<Upgrade | 1<<TE | 1<<KeepAlive | 1<<ProxyConnection |
	1<<ProxyAuthenticate | 1<<ProxyAuthorization | 1<<HTTP2Settings

// Get is the value of the first field with this well-known name, nil without one.
func (h *head) Get(id ID) []byte {
	if id != Unknown && h.Present.Has(id) {
		for i := range h.Fields {
			if h.Fields[i].ID == id {
				return h.Fields[i].Value
			}
		}
	}
	return nil
}

// Find is the first field with this name, whatever its case, nil without one. For well-known names Get is faster.
func (h *head) Find(name string) *Field { return Lookup(h.Fields, name) }

// Lookup is the first field with this name, whatever its case, nil without one. It is meant for trailers.
func Lookup(fields []Field, name string) *Field {
	for i := range fields {
		if EqualFold(fields[i].Name, name) {
			return &fields[i]
		}
	}
	return nil
}

// Drop marks every field whose well-known name is in the set as not to be copied.
func (h *head) Drop(ids Set) {
	if h.Present&ids == 0 {
		return
	}
	for i := range h.Fields {
		if f := &h.Fields[i]; f.ID != Unknown && ids.Has(f.ID) {
			f.Drop = true
		}
	}
}

// DropName marks every field with this name, whatever its case, as not to be copied, and says how many there were.
func (h *head) DropName(name string) int { return dropName(h.Fields, name) }

func dropName[N ~string | ~[]byte](fields []Field, name N) (dropped int) {
	for i := range fields {
		if f := &fields[i]; EqualFold(f.Name, name) {
			f.Drop = true
			dropped++
		}
	}
	return dropped
}

// AppendFields appends the field lines without those marked Drop, each with its CRLF, as they came. Neighbours are copied as one block.
// The empty line that ends a head is the caller's to append.
func (h *head) AppendFields(dst []byte) []byte { return h.appendFrom(dst, h.fieldsAt, h.fieldsAt) }

// appendFrom appends what stands between from and the first field line, and the field lines that are not dropped.
func (h *head) appendFrom(dst []byte, from, to uint32) []byte {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Drop {
			dst = append(dst, h.raw[from:to]...)
			from = f.end
		}
		to = f.end
	}
	return append(dst, h.raw[from:to]...)
}
