package http1

// What is refused, and with which code. They are shared: refusing allocates nothing.
var (
	errHeadTooLarge     = &Error{431, "the request head is too large"}
	errTooManyFields    = &Error{431, "the head has too many fields"}
	errTargetTooLong    = &Error{414, "the request line is too long"}
	errMethod           = &Error{400, "the method is not a token"}
	errRequestLine      = &Error{400, "the request line is not method, target and version with one space between"}
	errTargetByte       = &Error{400, "the request target has a byte that must be percent-encoded"}
	errTargetFragment   = &Error{400, "the request target has a fragment"}
	errTargetEscape     = &Error{400, "the path has an incomplete percent-encoding"}
	errTargetForm       = &Error{400, "the request target has none of the forms that this method may have"}
	errTargetUser       = &Error{400, "the request target names a user"}
	errTargetHost       = &Error{400, "the request target names another host than the Host field"}
	errVersion          = &Error{505, "the HTTP version is not supported here"}
	errNoHost           = &Error{400, "the Host field is missing"}
	errManyHosts        = &Error{400, "there is more than one Host field"}
	errHost             = &Error{400, "the host is not valid"}
	errEmptyName        = &Error{400, "a field line has no name"}
	errName             = &Error{400, "a field name has a byte that names cannot have"}
	errNoColon          = &Error{400, "a field line has no colon"}
	errSpaceBeforeColon = &Error{400, "there is white space between a field name and its colon"}
	errFolded           = &Error{400, "a field line begins with white space (obsolete line folding)"}
	errBareCR           = &Error{400, "there is a carriage return without a line feed"}
	errBareLF           = &Error{400, "there is a line feed without a carriage return"}
	errNUL              = &Error{400, "there is a NUL byte"}
	errControl          = &Error{400, "there is a control byte"}
	errLength           = &Error{400, "Content-Length is not a plain decimal number"}
	errManyLengths      = &Error{400, "there is more than one Content-Length"}
	errCoding           = &Error{400, "Transfer-Encoding does not end in exactly one chunked"}
	errManyCodings      = &Error{400, "there is more than one Transfer-Encoding"}
	errUnknownCoding    = &Error{501, "the transfer coding is not known here; only chunked is"}
	errCodingAndLength  = &Error{400, "there are both Transfer-Encoding and Content-Length"}
	errCodingVersion    = &Error{400, "Transfer-Encoding in HTTP/1.0"}
	errExpectation      = &Error{417, "the expectation is not known here; only 100-continue is"}
	errConnection       = &Error{400, "the Connection field is not a list of tokens"}
	errConnectionLists  = &Error{400, "the Connection field lists a field that the message needs to arrive"}
	errStatusLine       = &Error{400, "the status line is not version, three digits and a reason"}
	errResponseTooLarge = &Error{502, "the response head is too large"}
	errChunkSize        = &Error{400, "a chunk size is not a plain hexadecimal number"}
	errChunkTooLarge    = &Error{400, "a chunk size is too large"}
	errChunkLine        = &Error{400, "a chunk's first line does not end in CRLF"}
	errChunkExtension   = &Error{400, "a chunk extension is too long"}
	errChunkOverhead    = &Error{400, "the chunked body is more framing than data"}
	errChunkEnd         = &Error{400, "a chunk's data is not followed by CRLF"}
	errTrailer          = &Error{400, "a trailer field would change how the message is framed or routed"}
	errTrailersTooLarge = &Error{431, "the trailer section is too large"}
)
