// Command netpol enforces networking.k8s.io/v1 NetworkPolicies on the node that it runs on.
//
// It watches pods, namespaces and policies, renders one nftables table out of them (package-level function Render) and
// loads that in one transaction. Where the kernel has no nft_queue, enforcers that decide in user space do not work;
// this one needs nf_tables alone. Limits: one node, IPv4, and a new pod is open until its address is in its status.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
)

const (
	// Changes come in bursts (a rollout touches many pods); one load answers a burst.
	settle = 50 * time.Millisecond
	// A table that nft refuses is tried again, as the next state may be another.
	retryAfter  = time.Second
	loadTimeout = 10 * time.Second
)

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, log); err != nil {
		log.Error("netpol ends", "error", err.Error())
		os.Exit(1)
	}
}

func run(ctx context.Context, log *slog.Logger) error {
	config, err := rest.InClusterConfig()
	if err != nil {
		return fmt.Errorf("reading the pod's service account: %w", err)
	}
	source, err := Watch(ctx, config)
	if err != nil {
		return fmt.Errorf("watching pods, namespaces and policies: %w", err)
	}
	loaded := ""
	for {
		state := source.State()
		if table := Render(state); table != loaded {
			if err := load(ctx, table); err != nil {
				log.Error("nft refused the table", "error", err.Error())
				time.AfterFunc(retryAfter, source.mark)
			} else {
				loaded = table
				log.Info("loaded", "pods", len(state.Pods), "policies", len(state.Policies))
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-source.Changed:
			time.Sleep(settle)
		}
	}
}

// load replaces the table in one transaction: no packet sees half of it.
func load(ctx context.Context, table string) error {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	nft := exec.CommandContext(ctx, "nft", "--file", "-")
	nft.Stdin = strings.NewReader(table)
	if output, err := nft.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(output)))
	}
	return nil
}
