{{/* Names, labels, the image. */}}

{{- define "rust-nginx.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "rust-nginx.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "rust-nginx.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "rust-nginx.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "rust-nginx.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{/* Name of the Deployment, the Service and the main ConfigMap. */}}
{{- define "rust-nginx.controller.fullname" -}}
{{- printf "%s-%s" (include "rust-nginx.fullname" . | trunc 50 | trimSuffix "-") .Values.controller.name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "rust-nginx.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "rust-nginx.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "rust-nginx.electionID" -}}
{{- default (printf "%s-leader" (include "rust-nginx.fullname" .)) .Values.controller.electionID -}}
{{- end -}}

{{/* The namespace that is watched, empty for all. */}}
{{- define "rust-nginx.watchNamespace" -}}
{{- if and .Values.controller.scope.enabled (not .Values.controller.scope.namespaceSelector) -}}
{{- default (include "rust-nginx.namespace" .) .Values.controller.scope.namespace -}}
{{- end -}}
{{- end -}}

{{/* namespace/name of the Service whose addresses become the status, empty for none. */}}
{{- define "rust-nginx.publishService" -}}
{{- if and .Values.controller.publishService.enabled (not (hasKey .Values.controller.extraArgs "publish-status-address")) -}}
{{- if .Values.controller.publishService.pathOverride -}}
{{- .Values.controller.publishService.pathOverride -}}
{{- else if .Values.controller.service.enabled -}}
{{- printf "%s/%s" (include "rust-nginx.namespace" .) (include "rust-nginx.controller.fullname" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Not empty when --enable-topology-aware-routing is on. */}}
{{- define "rust-nginx.topology" -}}
{{- if hasKey .Values.controller.extraArgs "enable-topology-aware-routing" -}}
{{- if ne (toString (index .Values.controller.extraArgs "enable-topology-aware-routing")) "false" -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{/* Not empty when Nodes are read: for their zone, or for their addresses because nothing else gives the status any. */}}
{{- define "rust-nginx.readsNodes" -}}
{{- $args := .Values.controller.extraArgs -}}
{{- $given := or (include "rust-nginx.publishService" .) (hasKey $args "publish-status-address") (hasKey $args "publish-service") -}}
{{- $silent := or .Values.controller.disableLeaderElection (eq (toString (get $args "update-status")) "false") -}}
{{- if or (include "rust-nginx.topology" .) (not (or $given $silent)) -}}true{{- end -}}
{{- end -}}

{{- define "rust-nginx.selectorLabels" -}}
app.kubernetes.io/name: {{ include "rust-nginx.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "rust-nginx.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "rust-nginx.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: {{ include "rust-nginx.name" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "rust-nginx.image" -}}
{{- $image := .Values.controller.image -}}
{{- $registry := default $image.registry .Values.global.image.registry -}}
{{- printf "%s/%s:%s" $registry $image.image (default .Chart.AppVersion $image.tag) -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* Combinations that cannot work, said before anything is installed. */}}
{{- define "rust-nginx.check" -}}
{{- if and .Values.rbac.scope (not .Values.controller.scope.enabled) -}}
{{- fail "rbac.scope needs controller.scope.enabled: Roles alone cannot watch all namespaces" -}}
{{- end -}}
{{- if and .Values.rbac.scope .Values.controller.scope.namespaceSelector -}}
{{- fail "rbac.scope and controller.scope.namespaceSelector exclude each other: a selector has to read Namespaces, which needs a ClusterRole" -}}
{{- end -}}
{{- if and .Values.controller.scope.namespace .Values.controller.scope.namespaceSelector -}}
{{- fail "controller.scope.namespace and controller.scope.namespaceSelector exclude each other" -}}
{{- end -}}
{{- if and .Values.controller.hostNetwork (or (lt (int .Values.controller.containerPort.http) 1024) (lt (int .Values.controller.containerPort.https) 1024)) -}}
{{- fail "controller.hostNetwork needs controller.containerPort.http and .https from 1024 on: the program has no capability, and the sysctl that allows lower ports cannot be set on the host's network" -}}
{{- end -}}
{{- end -}}

{{/* The ConfigMaps of TCP and UDP services, as namespace/name. */}}
{{- define "rust-nginx.tcpConfigMap" -}}
{{- printf "%s/%s-tcp" (default (include "rust-nginx.namespace" .) .Values.controller.tcp.configMapNamespace) (include "rust-nginx.fullname" .) -}}
{{- end -}}

{{- define "rust-nginx.udpConfigMap" -}}
{{- printf "%s/%s-udp" (default (include "rust-nginx.namespace" .) .Values.controller.udp.configMapNamespace) (include "rust-nginx.fullname" .) -}}
{{- end -}}

{{/* The name of the port of such a service, from a list of root, port and transport. A name has at most 15 characters. */}}
{{- define "rust-nginx.streamPort" -}}
{{- $prefix := (index . 0).Values.portNamePrefix -}}
{{- printf "%s%s-%s" (ternary "" (printf "%s-" $prefix) (eq $prefix "")) (index . 1) (index . 2) -}}
{{- end -}}
