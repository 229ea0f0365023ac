import { SSETest } from "@idlewild/react";
import { useState } from "react";

/** The guide's test component, shown on request, because it opens its own stream. */
export function ConnectionTest() {
  const [isShown, setIsShown] = useState(false);
  return (
    <section className="card">
      <div className="bar">
        <h2>Connection test</h2>
        <button className="quiet" onClick={() => setIsShown(!isShown)}>
          {isShown ? "Stop" : "Start"}
        </button>
      </div>
      {isShown && <SSETest url="/api/v1/auth/sse/test/" />}
    </section>
  );
}
