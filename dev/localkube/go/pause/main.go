// Command pause keeps a pod's namespaces open: it reaps the pod's orphans and ends when told to.
//
// It imports nothing of Kubernetes, because one runs for every pod.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	waitForEnd(signals, reapAll)
}

// waitForEnd returns at the first signal that is not SIGCHLD; it calls reap for each of those.
func waitForEnd(signals <-chan os.Signal, reap func()) {
	for s := range signals {
		if s != syscall.SIGCHLD {
			return
		}
		reap()
	}
}

// reapAll collects every child that has ended. Signals merge, so one SIGCHLD may stand for several children.
func reapAll() {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if pid <= 0 && err != syscall.EINTR {
			return
		}
	}
}
