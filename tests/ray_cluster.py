"""A Ray cluster on a loopback address, as a program: `add` and `remove` on its standard input.

Not 127.0.0.1, which Ray takes for another address of the machine.
"""

import os
import sys

PLACE = {"node_ip_address": "127.0.0.2", "object_store_memory": 1 << 27}


def main(count):
    """Starts a head without cores and nodes with one each; says where it is, then answers."""
    # Ray's own default is 15: workers would starve beside other jobs.
    os.environ |= {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    from ray import cluster_utils

    cluster = cluster_utils.Cluster()
    cluster.add_node(num_cpus=0, include_dashboard=False, **PLACE)
    nodes = [cluster.add_node(num_cpus=1, **PLACE) for _ in range(count)]
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "add":
            nodes.append(cluster.add_node(num_cpus=1, **PLACE))
        else:
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
        cluster.wait_for_nodes()  # A driver that begins before that may be sent to a lost one.
        print("done", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
