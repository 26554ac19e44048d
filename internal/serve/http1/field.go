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

// head is what requests and responses have in common.
type head struct {
	// Fields are the field lines, in order.
	Fields []Field
	// Present has the well-known names among the fields.
	Present Set
}

// Get is the value of the first field with this well-known name, nil without one.
func (h *head) Get(id ID) []byte { panic("http1: not written yet") }

// Find is the first field with this name, whatever its case, nil without one. For well-known names Get is faster.
func (h *head) Find(name string) *Field { panic("http1: not written yet") }

// Drop marks every field whose well-known name is in the set as not to be copied.
func (h *head) Drop(ids Set) { panic("http1: not written yet") }

// DropName marks every field with this name, whatever its case, as not to be copied, and says how many there were.
func (h *head) DropName(name string) int { panic("http1: not written yet") }

// AppendFields appends the field lines without those marked Drop, each with its CRLF, as they came. Neighbours are copied as one block.
// The empty line that ends a head is the caller's to append.
func (h *head) AppendFields(dst []byte) []byte { panic("http1: not written yet") }

// Lookup is the first field with this name, whatever its case, nil without one. It is meant for trailers.
func Lookup(fields []Field, name string) *Field { panic("http1: not written yet") }
