package main

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const tableName = "shieldx_netpol"

// State is all that the rules depend on.
type State struct {
	Pods       []*corev1.Pod
	Namespaces map[string]map[string]string // labels by name
	Policies   []*netv1.NetworkPolicy
}

// direction is one of the two ways in which a policy isolates a pod.
type direction struct {
	kind    netv1.PolicyType
	prefix  string // of the pod's chain
	own     string // the address of the isolated pod in a packet
	other   string // that of its peer
	ingress bool
}

var (
	ingress = direction{netv1.PolicyTypeIngress, "in", "daddr", "saddr", true}
	egress  = direction{netv1.PolicyTypeEgress, "out", "saddr", "daddr", false}
)

// Render gives nft's input: it replaces the whole table. Equal states give equal text, whatever their order.
//
// Each isolated pod has a chain a direction, which returns at the first rule that allows a packet and drops at its end.
// A packet passes the chain of its sender and that of its receiver. Only packets in a connection's original direction
// are judged, all of them: so answers pass, and a connection that is no longer allowed is cut.
func Render(state State) string {
	pods, policies := livePods(state.Pods), sortedPolicies(state.Policies)
	r := renderer{pods: pods, namespaces: state.Namespaces}
	var chains strings.Builder
	jumps := map[string][]string{}
	for number, pod := range pods {
		for _, way := range []direction{egress, ingress} {
			rules, isolated := r.rules(pod, policies, way)
			if !isolated {
				continue
			}
			chain := fmt.Sprintf("%s_%d", way.prefix, number)
			fmt.Fprintf(&chains, "  chain %s { # %s/%s\n", chain, pod.Namespace, pod.Name)
			for _, rule := range rules {
				fmt.Fprintf(&chains, "    %sreturn\n", rule)
			}
			chains.WriteString("    counter drop\n  }\n")
			jumps[way.own] = append(jumps[way.own], fmt.Sprintf("%s : jump %s", pod.Status.PodIP, chain))
		}
	}
	var table strings.Builder
	fmt.Fprintf(&table, "add table ip %[1]s\ndelete table ip %[1]s\ntable ip %[1]s {\n%[2]s", tableName, chains.String())
	writeHook(&table, "forward", jumps, egress.own, ingress.own)
	writeHook(&table, "input", jumps, egress.own) // from a pod to the node itself; the node may always reach its pods
	table.WriteString("}\n")
	return table.String()
}

func writeHook(table *strings.Builder, hook string, jumps map[string][]string, fields ...string) {
	fmt.Fprintf(table, "  chain %[1]s {\n    type filter hook %[1]s priority -10; policy accept;\n", hook)
	table.WriteString("    ct direction reply accept\n    ct state related accept\n")
	for _, field := range fields {
		if len(jumps[field]) > 0 {
			fmt.Fprintf(table, "    ip %s vmap { %s }\n", field, strings.Join(jumps[field], ", "))
		}
	}
	table.WriteString("  }\n")
}

type renderer struct {
	pods       []*corev1.Pod
	namespaces map[string]map[string]string
}

// rules gives what is allowed for pod in one direction, and whether any policy isolates it there.
func (r renderer) rules(pod *corev1.Pod, policies []*netv1.NetworkPolicy, way direction) (rules []string, isolated bool) {
	for _, policy := range policies {
		if policy.Namespace != pod.Namespace || !slices.Contains(policy.Spec.PolicyTypes, way.kind) ||
			!matches(&policy.Spec.PodSelector, pod.Labels) {
			continue
		}
		isolated = true
		if way.ingress {
			for _, rule := range policy.Spec.Ingress {
				rules = append(rules, r.allow(policy, pod, rule.From, rule.Ports, way)...)
			}
			continue
		}
		for _, rule := range policy.Spec.Egress {
			rules = append(rules, r.allow(policy, pod, rule.To, rule.Ports, way)...)
		}
	}
	return compact(rules), isolated
}

// allow renders one rule of a policy: each of its peers with each of its ports.
func (r renderer) allow(policy *netv1.NetworkPolicy, pod *corev1.Pod, peers []netv1.NetworkPolicyPeer, ports []netv1.NetworkPolicyPort, way direction) []string {
	receiver := pod // whose container ports a port's name means
	if !way.ingress {
		receiver = nil
	}
	if len(peers) == 0 {
		rules := portRules("", ports, receiver)
		if !way.ingress { // a named port to anywhere: in each pod it is another number
			rules = append(rules, r.toEachPod(r.pods, namedOnly(ports))...)
		}
		return rules
	}
	var rules []string
	for _, peer := range peers {
		if peer.IPBlock != nil {
			if block, ok := blockMatch(peer.IPBlock, way.other); ok {
				rules = append(rules, portRules(block, ports, receiver)...)
			}
			continue
		}
		selected := r.selected(policy.Namespace, peer)
		if len(selected) == 0 {
			continue
		}
		addresses := make([]string, 0, len(selected))
		for _, other := range selected {
			addresses = append(addresses, other.Status.PodIP)
		}
		match := fmt.Sprintf("ip %s { %s } ", way.other, strings.Join(addresses, ", "))
		rules = append(rules, portRules(match, ports, receiver)...)
		if !way.ingress {
			rules = append(rules, r.toEachPod(selected, namedOnly(ports))...)
		}
	}
	return rules
}

// toEachPod renders egress to named ports, which each receiving pod may map to another number.
func (r renderer) toEachPod(receivers []*corev1.Pod, ports []netv1.NetworkPolicyPort) (rules []string) {
	if len(ports) == 0 {
		return nil
	}
	for _, receiver := range receivers {
		rules = append(rules, portRules(fmt.Sprintf("ip daddr %s ", receiver.Status.PodIP), ports, receiver)...)
	}
	return rules
}

func (r renderer) selected(namespace string, peer netv1.NetworkPolicyPeer) (selected []*corev1.Pod) {
	for _, pod := range r.pods {
		if peer.NamespaceSelector == nil {
			if pod.Namespace != namespace {
				continue
			}
		} else if !matches(peer.NamespaceSelector, r.namespaces[pod.Namespace]) {
			continue
		}
		if peer.PodSelector == nil || matches(peer.PodSelector, pod.Labels) {
			selected = append(selected, pod)
		}
	}
	return selected
}

// portRules completes an address match with each port. Without ports, all traffic is meant.
func portRules(match string, ports []netv1.NetworkPolicyPort, receiver *corev1.Pod) (rules []string) {
	if len(ports) == 0 {
		return []string{match}
	}
	for _, port := range ports {
		if text, ok := portMatch(port, receiver); ok {
			rules = append(rules, match+text)
		}
	}
	return rules
}

// portMatch renders a port. False where it matches nothing: a name that the receiver has not, or no receiver is known.
func portMatch(port netv1.NetworkPolicyPort, receiver *corev1.Pod) (string, bool) {
	protocol := corev1.ProtocolTCP
	if port.Protocol != nil {
		protocol = *port.Protocol
	}
	name := strings.ToLower(string(protocol))
	switch {
	case port.Port == nil:
		return fmt.Sprintf("meta l4proto %s ", name), true
	case port.Port.Type == intstr.Int && port.EndPort != nil:
		return fmt.Sprintf("%s dport %d-%d ", name, port.Port.IntVal, *port.EndPort), true
	case port.Port.Type == intstr.Int:
		return fmt.Sprintf("%s dport %d ", name, port.Port.IntVal), true
	}
	if number, ok := namedPort(receiver, port.Port.StrVal, protocol); ok {
		return fmt.Sprintf("%s dport %d ", name, number), true
	}
	return "", false
}

func namedPort(pod *corev1.Pod, name string, protocol corev1.Protocol) (int32, bool) {
	if pod == nil {
		return 0, false
	}
	for _, container := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) { // sidecars are of the latter
		for _, port := range container.Ports {
			if port.Name == name && (port.Protocol == protocol || port.Protocol == "" && protocol == corev1.ProtocolTCP) {
				return port.ContainerPort, true
			}
		}
	}
	return 0, false
}

func namedOnly(ports []netv1.NetworkPolicyPort) (named []netv1.NetworkPolicyPort) {
	for _, port := range ports {
		if port.Port != nil && port.Port.Type == intstr.String {
			named = append(named, port)
		}
	}
	return named
}

// blockMatch renders an ipBlock. False for IPv6, of which the cluster has none.
func blockMatch(block *netv1.IPBlock, field string) (string, bool) {
	prefix, ok := ipv4(block.CIDR)
	if !ok {
		return "", false
	}
	match := fmt.Sprintf("ip %s %s ", field, prefix)
	var except []netip.Prefix
	for _, text := range block.Except {
		if inner, ok := ipv4(text); ok && !slices.ContainsFunc(except, func(outer netip.Prefix) bool { return outer.Overlaps(inner) && outer.Bits() <= inner.Bits() }) {
			except = slices.DeleteFunc(except, inner.Overlaps) // nft refuses a set whose ranges overlap
			except = append(except, inner)
		}
	}
	if len(except) > 0 {
		texts := make([]string, 0, len(except))
		for _, inner := range except {
			texts = append(texts, inner.String())
		}
		match += fmt.Sprintf("ip %s != { %s } ", field, strings.Join(texts, ", "))
	}
	return match, true
}

func ipv4(text string) (netip.Prefix, bool) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil || !prefix.Addr().Is4() {
		return netip.Prefix{}, false
	}
	return prefix.Masked(), true
}

// livePods gives the pods that have an address of their own, in a fixed order. An address that an ended pod left behind
// may be another's already: the younger pod has it, and nft takes an address once.
func livePods(pods []*corev1.Pod) []*corev1.Pod {
	byAddress := map[string]*corev1.Pod{}
	for _, pod := range pods {
		if pod.Spec.HostNetwork || pod.Status.PodIP == "" ||
			pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		holder, taken := byAddress[pod.Status.PodIP]
		if !taken || holder.CreationTimestamp.Before(&pod.CreationTimestamp) {
			byAddress[pod.Status.PodIP] = pod
		}
	}
	live := make([]*corev1.Pod, 0, len(byAddress))
	for _, pod := range byAddress {
		live = append(live, pod)
	}
	sort.Slice(live, func(i, j int) bool { return key(live[i]) < key(live[j]) })
	return live
}

func sortedPolicies(policies []*netv1.NetworkPolicy) []*netv1.NetworkPolicy {
	sorted := slices.Clone(policies)
	sort.Slice(sorted, func(i, j int) bool { return key(sorted[i]) < key(sorted[j]) })
	return sorted
}

func key(object metav1.Object) string { return object.GetNamespace() + "/" + object.GetName() }

// matches is false for a selector that is not valid; the API server admits none.
func matches(selector *metav1.LabelSelector, of map[string]string) bool {
	compiled, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && compiled.Matches(labels.Set(of))
}

// compact drops repeated rules and keeps the order.
func compact(rules []string) []string {
	seen := map[string]bool{}
	return slices.DeleteFunc(rules, func(rule string) bool {
		if seen[rule] {
			return true
		}
		seen[rule] = true
		return false
	})
}
