#!/bin/bash
# Writes the agent's settings `topology` and `labels` from the labels of its node.
#
# usage: topology FILE
#
# NODE_NAME is the node, RACK_LABEL the label that names its rack, NODE_LABELS the labels (with spaces between)
# by which prefetch orders can select it. Missing labels are left out: an agent without a rack is a
# neighbour like any other of its zone. The API server is where Kubernetes' own variables
# say, the token and CA in TOKEN_DIR.
set -euo pipefail

file=$1
: "${NODE_NAME:?}" "${KUBERNETES_SERVICE_HOST:?}" "${KUBERNETES_SERVICE_PORT:?}"
rack_label=${RACK_LABEL:-shoal.dev/rack}
token_dir=${TOKEN_DIR:-/run/secrets/node-reader}

host=$KUBERNETES_SERVICE_HOST
[[ $host != *:* ]] || host="[$host]"

# The token goes in through a file: arguments can be read by every process of the node.
node=$(curl --silent --show-error --fail --max-time 20 --retry 5 --retry-connrefused \
  --cacert "$token_dir/ca.crt" \
  --header @<(printf 'Authorization: Bearer %s\n' "$(< "$token_dir/token")") \
  "https://$host:$KUBERNETES_SERVICE_PORT/api/v1/nodes/$NODE_NAME")

# JSON is YAML.
jq --arg rack "$rack_label" --arg labels "${NODE_LABELS:-}" '.metadata.labels // {} |
  . as $all |
  {topology: ({region: .["topology.kubernetes.io/region"],
               zone: .["topology.kubernetes.io/zone"],
               rack: .[$rack]} | with_entries(select(.value != null and .value != ""))),
   labels: ([$labels | splits(" +") | select($all[.] != null)] |
            map({key: ., value: $all[.]}) | from_entries)}' \
  <<< "$node" > "$file.new"
mv "$file.new" "$file"
echo "$NODE_NAME: $(jq -c . "$file")"
