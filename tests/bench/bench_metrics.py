"""What a scrape costs: CPU seconds and bytes of one /metrics page.

python -m tests.bench.bench_metrics
"""

import time

from nplb.observe.metrics import MAX_BACKENDS, MetricsPage
from tests.support.status import large


def main() -> None:
    print(f"series per backend up to {MAX_BACKENDS} backends")
    for services, nodes in ((100, 10), (500, 10), (1000, 10), (2000, 100)):
        state = large(services, nodes)
        start = time.process_time()
        page, _ = MetricsPage().render(state)
        took = time.process_time() - start
        backends = services * nodes
        print(f"{services} services, {backends} backends: {took:.2f} s, {len(page)} bytes")


if __name__ == "__main__":
    main()
