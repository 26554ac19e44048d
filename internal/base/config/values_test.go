package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "250ms": 250 * time.Millisecond, "1m30s": 90 * time.Second, "7d": 7 * 24 * time.Hour,
		"1.5h": 90 * time.Minute, "1d12h": 36 * time.Hour, "0.5d": 12 * time.Hour, " 3s ": 3 * time.Second,
	} {
		got, err := ParseDuration(text)
		if err != nil || time.Duration(got) != want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", text, got, err, want)
		}
		again, err := ParseDuration(got.String())
		if err != nil || again != got {
			t.Errorf("%q prints as %q, which is read as %v, %v", text, got, again, err)
		}
	}
	for text, want := range map[string]string{
		"":           "is missing",
		"10":         "10 has no unit: write 10ms, 10s or 10m",
		"1.5":        "has no unit",
		"-1s":        "negative",
		"soon":       "not a duration",
		"1d2d":       "not a duration",
		"d":          "not a duration",
		"1e300d":     "not a duration",
		"300000h1x":  "not a duration",
		"NaNd":       "not a duration",
		"106751d24h": "not a duration",
	} {
		if _, err := ParseDuration(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseDuration(%q): %v; want %q", text, err, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", time.Minute: "1m", 90 * time.Second: "1m30s", 24 * time.Hour: "1d", 25 * time.Hour: "1d1h",
		1500 * time.Millisecond: "1.5s", time.Hour + time.Millisecond: "1h1ms", math.MaxInt64: "106751d23h47m16.854775807s",
	} {
		if got := Duration(d).String(); got != want {
			t.Errorf("%d prints as %q; want %q", d, got, want)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "512B": 512, "64KiB": 64 << 10, "1.5MiB": 3 << 19, "10MB": 10e6, "2 GiB": 2 << 30, "3kB": 3000, "1TiB": 1 << 40,
	} {
		got, err := ParseSize(text)
		if err != nil || got != want {
			t.Errorf("ParseSize(%q) = %v, %v; want %d", text, got, err, want)
		}
		if again, err := ParseSize(got.String()); err != nil || again != got {
			t.Errorf("%q prints as %q, which is read as %v, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"", "64", "-1B", "KiB", "64 kibs", "9e30B", "NaNB", "9223372036854775807KiB"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %v; want an error", text, got)
		}
	}
	if got := Size(10e6).String(); got != "10MB" {
		t.Errorf("10e6 bytes print as %q", got)
	}
}

func TestPercentages(t *testing.T) {
	for text, want := range map[string]Percent{"20%": 20, "20": 20, "0.5%": 0.5, "100 %": 100, "-0": 0} {
		got, err := ParsePercent(text)
		if err != nil || got != want || math.Signbit(float64(got)) {
			t.Errorf("ParsePercent(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "%", "101%", "-1", "NaN", "half"} {
		if got, err := ParsePercent(text); err == nil {
			t.Errorf("ParsePercent(%q) = %v; want an error", text, got)
		}
	}
	if got := Percent(12.5).Of(); got != 0.125 {
		t.Errorf("12.5%% of one is %v", got)
	}
}

func TestValuesMarshalAsText(t *testing.T) {
	in := struct {
		D Duration
		S Size
		P Percent
	}{Duration(90 * time.Second), 64 << 10, 20}
	text, err := json.Marshal(in)
	if err != nil || string(text) != `{"D":"1m30s","S":"64KiB","P":"20%"}` {
		t.Fatalf("%s, %v", text, err)
	}
	out := in
	out.D, out.S, out.P = 0, 0, 0
	if err := json.Unmarshal(text, &out); err != nil || out != in {
		t.Errorf("read back: %+v, %v", out, err)
	}
}

func TestSecretsAreNeverPrinted(t *testing.T) {
	const word = "hunter2"
	c := Config{Tracing: &Tracing{Headers: map[string]Secret{"Authorization": {Text: word}}}}
	secret := c.Tracing.Headers["Authorization"]
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("secret", "value", secret, "all", c.Tracing)
	shown, err := Show(&c)
	if err != nil {
		t.Fatal(err)
	}
	for name, out := range map[string]string{
		"%v": fmt.Sprintf("%v", secret), "%+v": fmt.Sprintf("%+v", c.Tracing), "%#v": fmt.Sprintf("%#v", *c.Tracing),
		"%s": fmt.Sprintf("%s", secret), "%q": fmt.Sprintf("%q", secret), "%x": fmt.Sprintf("%x", secret),
		"JSON": string(asJSON), "log": logged.String(), "Show": string(shown),
		"Diff": fmt.Sprint(Diff(&Config{}, &c)),
	} {
		if strings.Contains(out, word) || strings.Contains(out, fmt.Sprintf("%x", word)) || !strings.Contains(out, hidden) {
			t.Errorf("%s: %s", name, out)
		}
	}
}

func TestReveal(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	t.Setenv("BACKSTAY_TEST_SECRET", "from env\n")
	for content, want := range map[string]string{"a\n": "a", "a\r\n": "a", "a\n\n": "a\n", "a": "a", "": ""} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := (Secret{File: file}).Reveal(); err != nil || got != want {
			t.Errorf("a file with %q reveals %q, %v; want %q", content, got, err, want)
		}
	}
	if got, err := (Secret{Env: "BACKSTAY_TEST_SECRET"}).Reveal(); err != nil || got != "from env" {
		t.Errorf("the environment reveals %q, %v", got, err)
	}
	if got, err := (Secret{Text: "plain\n"}).Reveal(); err != nil || got != "plain\n" {
		t.Errorf("the text reveals %q, %v", got, err)
	}
	if _, err := (Secret{Env: "BACKSTAY_TEST_NOT_SET"}).Reveal(); err == nil || !strings.Contains(err.Error(), "BACKSTAY_TEST_NOT_SET") {
		t.Errorf("a variable that is not set: %v", err)
	}
	if _, err := (Secret{File: file + ".none"}).Reveal(); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file that is not there: %v", err)
	}
}
