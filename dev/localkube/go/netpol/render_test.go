package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var (
	tcp, udp = corev1.ProtocolTCP, corev1.ProtocolUDP
	inOnly   = []netv1.PolicyType{netv1.PolicyTypeIngress}
	outOnly  = []netv1.PolicyType{netv1.PolicyTypeEgress}
)

func pod(name, address string, labels map[string]string, ports ...corev1.ContainerPort) *corev1.Pod {
	namespace, name, _ := strings.Cut(name, "/")
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Ports: ports}}},
		Status:     corev1.PodStatus{PodIP: address, Phase: corev1.PodRunning},
	}
}

func policy(name string, spec netv1.NetworkPolicySpec) *netv1.NetworkPolicy {
	namespace, name, _ := strings.Cut(name, "/")
	return &netv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: spec}
}

func selector(key, value string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
}

func number(protocol *corev1.Protocol, port int32) netv1.NetworkPolicyPort {
	value := intstr.FromInt32(port)
	return netv1.NetworkPolicyPort{Protocol: protocol, Port: &value}
}

func named(name string) netv1.NetworkPolicyPort {
	value := intstr.FromString(name)
	return netv1.NetworkPolicyPort{Port: &value}
}

// world: a server and two clients in "app", one client in "other", DNS in "kube-system".
func world(policies ...*netv1.NetworkPolicy) State {
	return State{
		Pods: []*corev1.Pod{
			pod("app/server", "10.0.0.1", map[string]string{"app": "server"}, corev1.ContainerPort{Name: "http", ContainerPort: 8080, Protocol: tcp}),
			pod("app/client", "10.0.0.2", map[string]string{"role": "client"}),
			pod("app/stranger", "10.0.0.3", map[string]string{"role": "stranger"}),
			pod("other/client", "10.0.0.4", map[string]string{"role": "client"}),
			pod("kube-system/dns", "10.0.0.53", map[string]string{"k8s-app": "kube-dns"}),
		},
		Namespaces: map[string]map[string]string{
			"app": {"kubernetes.io/metadata.name": "app"}, "other": {"kubernetes.io/metadata.name": "other", "team": "blue"},
			"kube-system": {"kubernetes.io/metadata.name": "kube-system"},
		},
		Policies: policies,
	}
}

// chain gives the rules that the table holds for a pod in one direction, or nil where it is not isolated.
func chain(t *testing.T, table, prefix, podName string) []string {
	t.Helper()
	var rules []string
	inside := false
	for line := range strings.Lines(table) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "chain "+prefix+"_") && strings.HasSuffix(line, "# "+podName):
			inside, rules = true, []string{}
		case inside && line == "}":
			return rules
		case inside:
			rules = append(rules, line)
		}
	}
	return nil
}

func TestRulesOfAPolicy(t *testing.T) {
	server := netv1.NetworkPolicySpec{PodSelector: *selector("app", "server")}
	inTo := func(rules ...netv1.NetworkPolicyIngressRule) netv1.NetworkPolicySpec {
		spec := server
		spec.PolicyTypes, spec.Ingress = inOnly, rules
		return spec
	}
	outOf := func(rules ...netv1.NetworkPolicyEgressRule) netv1.NetworkPolicySpec {
		return netv1.NetworkPolicySpec{PodSelector: *selector("role", "client"), PolicyTypes: outOnly, Egress: rules}
	}
	clients := []netv1.NetworkPolicyPeer{{PodSelector: selector("role", "client")}}
	end := int32(9010)
	rangeOfPorts := number(&tcp, 9000)
	rangeOfPorts.EndPort = &end

	for name, test := range map[string]struct {
		spec        netv1.NetworkPolicySpec
		prefix, pod string
		want        []string
	}{
		"default deny of ingress drops all": {inTo(), "in", "app/server", nil},
		"default deny of egress drops all":  {outOf(), "out", "app/client", nil},
		"an empty ingress rule allows all":  {inTo(netv1.NetworkPolicyIngressRule{}), "in", "app/server", []string{"return"}},
		"a peer is sought in the policy's namespace only": {
			inTo(netv1.NetworkPolicyIngressRule{From: clients}), "in", "app/server",
			[]string{"ip saddr { 10.0.0.2 } return"},
		},
		"a namespace selector reaches across namespaces": {
			inTo(netv1.NetworkPolicyIngressRule{From: []netv1.NetworkPolicyPeer{{NamespaceSelector: selector("team", "blue")}}}), "in", "app/server",
			[]string{"ip saddr { 10.0.0.4 } return"},
		},
		"both selectors of one peer must match": {
			inTo(netv1.NetworkPolicyIngressRule{From: []netv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{}, PodSelector: selector("role", "client")}}}),
			"in", "app/server", []string{"ip saddr { 10.0.0.2, 10.0.0.4 } return"},
		},
		"two peers are alternatives": {
			inTo(netv1.NetworkPolicyIngressRule{From: append(slices.Clone(clients), netv1.NetworkPolicyPeer{NamespaceSelector: selector("team", "blue")})}),
			"in", "app/server", []string{"ip saddr { 10.0.0.2 } return", "ip saddr { 10.0.0.4 } return"},
		},
		"a peer that selects no pod allows nothing": {
			inTo(netv1.NetworkPolicyIngressRule{From: []netv1.NetworkPolicyPeer{{PodSelector: selector("role", "nobody")}}}), "in", "app/server", nil,
		},
		"a port's number and protocol": {
			inTo(netv1.NetworkPolicyIngressRule{From: clients, Ports: []netv1.NetworkPolicyPort{number(&udp, 53), number(nil, 80)}}), "in", "app/server",
			[]string{"ip saddr { 10.0.0.2 } udp dport 53 return", "ip saddr { 10.0.0.2 } tcp dport 80 return"},
		},
		"a range of ports": {
			inTo(netv1.NetworkPolicyIngressRule{Ports: []netv1.NetworkPolicyPort{rangeOfPorts}}), "in", "app/server",
			[]string{"tcp dport 9000-9010 return"},
		},
		"a protocol without a port": {
			inTo(netv1.NetworkPolicyIngressRule{Ports: []netv1.NetworkPolicyPort{{Protocol: &udp}}}), "in", "app/server",
			[]string{"meta l4proto udp return"},
		},
		"a port's name is the receiving pod's": {
			inTo(netv1.NetworkPolicyIngressRule{Ports: []netv1.NetworkPolicyPort{named("http")}}), "in", "app/server",
			[]string{"tcp dport 8080 return"},
		},
		"a port's name that the pod has not allows nothing": {
			inTo(netv1.NetworkPolicyIngressRule{Ports: []netv1.NetworkPolicyPort{named("admin")}}), "in", "app/server", nil,
		},
		"egress to a named port of selected pods": {
			outOf(netv1.NetworkPolicyEgressRule{To: []netv1.NetworkPolicyPeer{{PodSelector: selector("app", "server")}}, Ports: []netv1.NetworkPolicyPort{named("http")}}),
			"out", "app/client", []string{"ip daddr 10.0.0.1 tcp dport 8080 return"},
		},
		"egress to a named port anywhere means the pods that have it": {
			outOf(netv1.NetworkPolicyEgressRule{Ports: []netv1.NetworkPolicyPort{named("http")}}),
			"out", "app/client", []string{"ip daddr 10.0.0.1 tcp dport 8080 return"},
		},
		"egress to a block of addresses with exceptions": {
			outOf(netv1.NetworkPolicyEgressRule{
				To:    []netv1.NetworkPolicyPeer{{IPBlock: &netv1.IPBlock{CIDR: "10.1.0.7/16", Except: []string{"10.1.2.0/24", "10.1.2.128/25", "10.1.9.0/24"}}}},
				Ports: []netv1.NetworkPolicyPort{number(&tcp, 443)},
			}),
			"out", "app/client", []string{"ip daddr 10.1.0.0/16 ip daddr != { 10.1.2.0/24, 10.1.9.0/24 } tcp dport 443 return"},
		},
		"a block of IPv6 addresses allows nothing": {
			outOf(netv1.NetworkPolicyEgressRule{To: []netv1.NetworkPolicyPeer{{IPBlock: &netv1.IPBlock{CIDR: "fd00::/8"}}}}), "out", "app/client", nil,
		},
		"ingress from a block to a named port": {
			inTo(netv1.NetworkPolicyIngressRule{From: []netv1.NetworkPolicyPeer{{IPBlock: &netv1.IPBlock{CIDR: "0.0.0.0/0"}}}, Ports: []netv1.NetworkPolicyPort{named("http")}}),
			"in", "app/server", []string{"ip saddr 0.0.0.0/0 tcp dport 8080 return"},
		},
		"DNS alone is excepted from a default deny": {
			outOf(netv1.NetworkPolicyEgressRule{
				To:    []netv1.NetworkPolicyPeer{{NamespaceSelector: selector("kubernetes.io/metadata.name", "kube-system"), PodSelector: selector("k8s-app", "kube-dns")}},
				Ports: []netv1.NetworkPolicyPort{number(&udp, 53), number(&tcp, 53)},
			}),
			"out", "app/client", []string{"ip daddr { 10.0.0.53 } udp dport 53 return", "ip daddr { 10.0.0.53 } tcp dport 53 return"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			table := Render(world(policy("app/p", test.spec)))
			want := append(slices.Clone(test.want), "counter drop")
			if got := chain(t, table, test.prefix, test.pod); !slices.Equal(got, want) {
				t.Errorf("chain of %s:\n  got  %q\n  want %q\nin\n%s", test.pod, got, want, table)
			}
		})
	}
}

func TestAPodThatNoPolicySelectsIsNotIsolated(t *testing.T) {
	table := Render(world(policy("app/p", netv1.NetworkPolicySpec{PodSelector: *selector("app", "server"), PolicyTypes: inOnly})))
	for _, free := range []string{"app/client", "other/client"} {
		if got := chain(t, table, "in", free); got != nil {
			t.Errorf("%s has the chain %q", free, got)
		}
	}
	if got := chain(t, table, "out", "app/server"); got != nil {
		t.Errorf("a policy of ingress isolates egress: %q", got)
	}
}

func TestTwoPoliciesAddUp(t *testing.T) {
	spec := func(label string) netv1.NetworkPolicySpec {
		return netv1.NetworkPolicySpec{
			PodSelector: *selector("app", "server"), PolicyTypes: inOnly,
			Ingress: []netv1.NetworkPolicyIngressRule{{From: []netv1.NetworkPolicyPeer{{PodSelector: selector("role", label)}}}},
		}
	}
	table := Render(world(policy("app/b", spec("stranger")), policy("app/a", spec("client"))))
	want := []string{"ip saddr { 10.0.0.2 } return", "ip saddr { 10.0.0.3 } return", "counter drop"}
	if got := chain(t, table, "in", "app/server"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestASenderAndItsReceiverAreBothJudged(t *testing.T) {
	table := Render(world(policy("app/all", netv1.NetworkPolicySpec{PolicyTypes: []netv1.PolicyType{netv1.PolicyTypeIngress, netv1.PolicyTypeEgress}})))
	forward := table[strings.Index(table, "chain forward"):strings.Index(table, "chain input")]
	input := table[strings.Index(table, "chain input"):]
	for _, want := range []string{"ip saddr vmap { 10.0.0.2 : jump out_0, 10.0.0.1 : jump out_1, 10.0.0.3 : jump out_2 }", "ip daddr vmap { 10.0.0.2 : jump in_0, 10.0.0.1 : jump in_1, 10.0.0.3 : jump in_2 }"} {
		if !strings.Contains(forward, want) {
			t.Errorf("forward lacks %q:\n%s", want, forward)
		}
	}
	if !strings.Contains(input, "ip saddr vmap") || strings.Contains(input, "ip daddr vmap") {
		t.Errorf("input judges senders only:\n%s", input)
	}
	if strings.Contains(table, "hook output") {
		t.Error("the node's own packets to its pods are judged; the API forbids that")
	}
}

func TestAnswersPassAndTheOriginalDirectionIsAlwaysJudged(t *testing.T) {
	table := Render(world())
	if strings.Contains(table, "established") {
		t.Error("an established connection passes unjudged, so that a new policy does not cut it")
	}
	if strings.Count(table, "ct direction reply accept") != 2 {
		t.Errorf("answers must pass in both hooks:\n%s", table)
	}
}

func TestEqualStatesGiveEqualTextWhateverTheirOrder(t *testing.T) {
	deny := policy("app/deny", netv1.NetworkPolicySpec{PolicyTypes: inOnly})
	open := policy("app/open", netv1.NetworkPolicySpec{PolicyTypes: inOnly, Ingress: []netv1.NetworkPolicyIngressRule{{}}})
	one, two := world(deny, open), world(open, deny)
	slices.Reverse(two.Pods)
	if Render(one) != Render(two) {
		t.Error("the order of pods or policies changes the table")
	}
}

func TestPodsWithoutAnAddressOfTheirOwnAreLeftOut(t *testing.T) {
	onHost := pod("app/on-host", "10.9.0.1", nil)
	onHost.Spec.HostNetwork = true
	ended := pod("app/ended", "10.0.0.8", nil)
	ended.Status.Phase = corev1.PodSucceeded
	state := State{
		Pods:     []*corev1.Pod{onHost, ended, pod("app/pending", "", nil)},
		Policies: []*netv1.NetworkPolicy{policy("app/deny", netv1.NetworkPolicySpec{PolicyTypes: inOnly})},
	}
	if table := Render(state); strings.Contains(table, "jump") {
		t.Errorf("a pod without an own address is isolated:\n%s", table)
	}
}

func TestAnAddressUsedTwiceBelongsToTheYoungerPod(t *testing.T) {
	old, young := pod("app/a-old", "10.0.0.9", nil), pod("app/b-young", "10.0.0.9", nil)
	old.CreationTimestamp = metav1.NewTime(time.Unix(100, 0))
	young.CreationTimestamp = metav1.NewTime(time.Unix(200, 0))
	for _, pods := range [][]*corev1.Pod{{old, young}, {young, old}} {
		table := Render(State{Pods: pods, Policies: []*netv1.NetworkPolicy{policy("app/deny", netv1.NetworkPolicySpec{PolicyTypes: inOnly})}})
		if strings.Count(table, "10.0.0.9 :") != 1 || chain(t, table, "in", "app/b-young") == nil {
			t.Errorf("the address is not the younger pod's alone:\n%s", table)
		}
	}
}
