package main

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

func TestAnEndedChildIsReapedAndDoesNotEndThePod(t *testing.T) {
	reaped := 0
	signals := make(chan os.Signal, 3)
	signals <- syscall.SIGCHLD
	signals <- syscall.SIGCHLD
	signals <- syscall.SIGTERM
	waitForEnd(signals, func() { reaped++ })
	if reaped != 2 {
		t.Errorf("reaped %d times, want 2", reaped)
	}
}

func TestOneSignalReapsEveryEndedChild(t *testing.T) {
	const children = 3
	for range children {
		child := exec.Command("true")
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		// WNOWAIT: wait until it has ended, but leave it a zombie.
		if err := waitUntilEnded(child.Process.Pid); err != nil {
			t.Fatal(err)
		}
	}
	reapAll()
	if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != syscall.ECHILD {
		t.Errorf("a child is left after reaping: pid %d, error %v", pid, err)
	}
}

// waitUntilEnded blocks until the child is a zombie and leaves it to be reaped (WEXITED|WNOWAIT).
func waitUntilEnded(pid int) error {
	const pPID, wExited, wNoWait = 1, 4, 0x01000000
	var info [128]byte
	return waitid(pPID, pid, &info, wExited|wNoWait)
}
