package postgres

import "testing"

// TestProves: a password is set anew only where the role has another. The verifier is that of the exchange in RFC 7677, 3.
func TestProves(t *testing.T) {
	const pencil = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
	tests := []struct {
		name, verifier, password string
		want                     bool
	}{
		{"the same", pencil, "pencil", true},
		{"another", pencil, "Pencil", false},
		{"none yet", "", "pencil", false},
		{"md5", "md55a231fcdb710d73268c4f44283487ba2", "pencil", false},
		{"no salt", "SCRAM-SHA-256$4096:$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=", "pencil", false},
		{"iterations out of bounds", "SCRAM-SHA-256$99999999:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=", "pencil", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := proves(tt.verifier, tt.password); got != tt.want {
				t.Errorf("proves(%q, %q) = %v", tt.verifier, tt.password, got)
			}
		})
	}
}
