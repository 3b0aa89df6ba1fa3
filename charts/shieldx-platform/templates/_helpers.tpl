{{/* One operator a namespace: its network name is what the services' policies let in. */}}
{{- define "shieldx.name" -}}
shieldx-operator
{{- end }}

{{- define "shieldx.selector" -}}
app.kubernetes.io/name: {{ include "shieldx.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "shieldx.labels" -}}
{{ include "shieldx.selector" . }}
app.kubernetes.io/part-of: shieldx-platform
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "shieldx.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* What services run is repository:version, so never a digest: a version is chosen by each object. */}}
{{- define "shieldx.runtimeImage" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* The name of what lies outside of any namespace: two releases must not meet. */}}
{{- define "shieldx.clusterName" -}}
{{ printf "%s-%s" .Release.Namespace (include "shieldx.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
