package main

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Environment that makes this program the application.
const (
	appEnv  = "OVERLOAD_APP"
	workEnv = "OVERLOAD_WORK"
)

// serveApp is an application with so many workers and a queue without end, as most have.
func serveApp(addr string) error {
	count, each, _ := strings.Cut(os.Getenv(workEnv), "/")
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	work, err := time.ParseDuration(each)
	if err != nil {
		return err
	}
	workers := make(chan struct{}, n)
	return http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			return
		}
		workers <- struct{}{} // first in, first out; who left in the meantime is served all the same
		time.Sleep(work)
		<-workers
		fmt.Fprintln(w, "done")
	}))
}
