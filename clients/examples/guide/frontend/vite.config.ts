import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  // @idlewild/react is linked from this repository, where it has its own React for its tests.
  resolve: { dedupe: ["react", "react-dom"] },
  // `npm run dev` serves the page; everything else comes from the running example.
  server: { proxy: { "/api": process.env["GUIDE_ORIGIN"] ?? "http://localhost:8080" } },
});
